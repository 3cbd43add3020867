package spool

import (
	"fmt"

	"github.com/waybillmq/waybill/relay"
)

// reserved is how many files of MaxBytes are not for messages: two that wait to become segments, one that the appends on their way may begin, and one for acks.
const reserved = 4

// usage is what the cache takes now.
type usage struct {
	segments int64
	messages int
	live     int64 // bytes that are needed, about
	free     int64 // of the file system
}

// refuses says why no message is taken now; empty = it is.
func (c *Config) refuses(u usage) string {
	switch {
	case u.segments > c.MaxBytes/c.SegmentBytes-reserved:
		return fmt.Sprintf("it takes %d bytes, the limit is %d", (u.segments+reserved)*c.SegmentBytes, c.MaxBytes)
	case u.messages >= c.MaxMessages:
		return fmt.Sprintf("it holds %d messages, the limit is %d", u.messages, c.MaxMessages)
	case u.free < c.MinFree+c.SegmentBytes:
		return fmt.Sprintf("the file system has %d bytes free, %d and one file of the log must stay", u.free, c.MinFree)
	}
	return ""
}

// refusesAcks is the same for acks, which may use what is left.
func (c *Config) refusesAcks(u usage) string {
	if u.segments > c.MaxBytes/c.SegmentBytes-reserved+1 {
		return fmt.Sprintf("it takes %d bytes with its acks, the limit is %d", (u.segments+reserved)*c.SegmentBytes, c.MaxBytes)
	}
	return ""
}

// rewrites says whether the oldest file is to be written again for what is needed of it: more than a quarter of all files could be given back. Then it is done
// at most four times for each byte, and restarts, each of which begins a file, fill nothing.
func (c *Config) rewrites(u usage) bool {
	used := u.segments * c.SegmentBytes
	return u.segments >= 8 && u.live < used/4*3-c.SegmentBytes && u.free >= c.MinFree+c.SegmentBytes
}

func (s *Spool) usage() (usage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return usage{segments: int64(s.newest - s.first + 1), messages: s.index.messages, live: s.index.bytes}, s.closed
}

func (s *Spool) room() error {
	u, err := s.usage()
	if err != nil {
		return err
	}
	if u.free, err = s.cfg.FS.Free(s.queue); err != nil {
		return s.fail(err)
	}
	return fullBecause(s.cfg.refuses(u))
}

func (s *Spool) roomForAcks() error {
	u, err := s.usage()
	if err != nil {
		return err
	}
	return fullBecause(s.cfg.refusesAcks(u))
}

func fullBecause(why string) error {
	if why == "" {
		return nil
	}
	return fmt.Errorf("%w: %s", relay.ErrCacheFull, why)
}
