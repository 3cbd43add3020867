package app

import (
	"errors"
	"fmt"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/spool"
)

var (
	// ErrCacheInUse means that a process holds the folder of a degraded cache.
	ErrCacheInUse = errors.New("a relay uses it: ask that relay, or stop it first")
	// ErrNoCache means that a folder is not there, or is not one of a degraded cache.
	ErrNoCache = spool.ErrNoCache
	// ErrAcksWait means that a cache would be dropped that holds acks, or may hold some.
	ErrAcksWait = spool.ErrAcksWait
)

// CacheReport is what lies in the folder of a degraded cache that nobody uses.
type CacheReport struct {
	System       int64              `json:"system_identifier,string"`
	Epoch        int64              `json:"epoch,string"`
	Claimed      int64              `json:"claimed,string"`
	Messages     int                `json:"messages"`
	Acks         int                `json:"acks"`
	DiskBytes    int64              `json:"disk_bytes,string"`
	Segments     int                `json:"segments"`
	Aside        []string           `json:"set_aside"`
	Damaged      []string           `json:"damaged_folders"`
	Frames       int                `json:"frames"`           // of CacheVerify
	Records      int                `json:"records"`          // of CacheVerify
	Clean        bool               `json:"closed_in_order"`  // of CacheVerify
	Torn         bool               `json:"unfinished_frame"` // of CacheVerify
	Damage       []string           `json:"damage"`
	Destinations []CacheDestination `json:"destinations"`
}

// CacheDestination is what a degraded cache holds of one destination.
type CacheDestination struct {
	Destination string `json:"destination"`
	Messages    int    `json:"messages"`
	Bytes       int64  `json:"bytes,string"`
	Acks        int    `json:"acks"`
	Oldest      int64  `json:"oldest,string,omitempty"` // id of the oldest message
}

// CacheInspect says what a degraded cache that nobody uses holds, up to its first damage, and changes nothing. Errors: [ErrCacheInUse], [ErrNoCache].
func CacheInspect(dir string) (CacheReport, error) {
	r, err := spool.Inspect(vfs.OS{}, dir)
	return cacheReport(r), cacheError(err)
}

// CacheVerify is CacheInspect, and reads every byte.
func CacheVerify(dir string) (CacheReport, error) {
	r, err := spool.Verify(vfs.OS{}, dir)
	return cacheReport(r), cacheError(err)
}

// CacheDrop deletes a degraded cache that nobody uses, with what was set aside, and says what it held. No message is lost by it. [ErrAcksWait]: messages would
// be sent twice, and acceptDuplicates is not set.
func CacheDrop(dir string, acceptDuplicates bool) (CacheReport, error) {
	r, err := spool.Remove(dir, acceptDuplicates)
	return cacheReport(r), cacheError(err)
}

func cacheReport(found spool.Report) CacheReport {
	r := CacheReport{System: found.System, Epoch: int64(found.Epoch), Claimed: int64(found.Claimed), Messages: found.Messages, Acks: found.Acks, DiskBytes: found.DiskBytes,
		Segments: found.Segments, Aside: append([]string{}, found.Aside...), Damaged: append([]string{}, found.Damaged...), Frames: found.Frames, Records: found.Records, Clean: found.Clean,
		Torn: found.Torn, Damage: []string{}, Destinations: []CacheDestination{}}
	for _, d := range found.Damage {
		r.Damage = append(r.Damage, fmt.Sprintf("segment %d, byte %d: %v", d.Segment, d.At, d.Err))
	}
	if found.Unread > 0 {
		r.Damage = append(r.Damage, fmt.Sprintf("%d records are not what they should be, although their frames are whole", found.Unread))
	}
	for _, d := range found.Destinations {
		r.Destinations = append(r.Destinations, CacheDestination{Destination: d.Name, Messages: d.Messages, Bytes: d.Bytes, Acks: d.Acks, Oldest: int64(d.Oldest)})
	}
	return r
}

// cacheError says what a lock means here.
func cacheError(err error) error {
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("%w: %w", err, ErrCacheInUse)
	}
	return err
}
