package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// BrokerRecord is a record of the bundled broker as people see it.
type BrokerRecord struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset,string"`
	At        time.Time `json:"at"`
	Key       string    `json:"key,omitempty"`
	MessageID string    `json:"message_id,omitempty"`
	Size      int       `json:"size"`
	Tombstone bool      `json:"tombstone,omitempty"`
	Payload   []byte    `json:"payload,omitempty"` // only when it is asked for
}

// CatOptions say what BrokerCat reads.
type CatOptions struct {
	Partition int   // -1 = all
	From      int64 // offset
	Payload   bool
	Limit     int // most records, at least 1
}

// MoreRecordsError is the first record beyond a limit.
type MoreRecordsError struct {
	Partition int32
	Offset    int64
}

func (e *MoreRecordsError) Error() string {
	return fmt.Sprintf("there is more: partition %d from offset %d on", e.Partition, e.Offset)
}

// BrokerCat gives each record of a topic in the folder of a bundled broker that does not run, partition by partition. It ends with the first error of each, and with
// a [*MoreRecordsError] at the limit. When the log is damaged it gives what stands before the damage, and the error is a [*DamagedBrokerError].
func BrokerCat(ctx context.Context, dir, topic string, o CatOptions, each func(BrokerRecord) error) (err error) {
	n, err := broker.Inspect(dir, vfs.OS{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	given := 0
	err = waybillbroker.ReadAll(ctx, n, topic, func(r waybillbroker.Record) error {
		if o.Partition >= 0 && int(r.Partition) != o.Partition || r.Offset < o.From {
			return nil
		}
		if given++; given > o.Limit {
			return &MoreRecordsError{r.Partition, r.Offset}
		}
		b := BrokerRecord{Topic: topic, Partition: r.Partition, Offset: r.Offset, At: r.At.UTC(), Key: string(r.Key), Size: len(r.Value), Tombstone: r.Value == nil}
		b.MessageID, _ = r.Header("waybill-id")
		if o.Payload {
			b.Payload = r.Value
		}
		return each(b)
	})
	if err == nil && n.Found().Damage != nil {
		return &DamagedBrokerError{Dir: dir, Why: n.Found().Damage}
	}
	return err
}

// DamagedBrokerError says that acknowledged records of a bundled broker cannot be read any more.
type DamagedBrokerError struct {
	Dir string
	Why error
}

func (e *DamagedBrokerError) Error() string {
	return fmt.Sprintf("%v. Restore the folder from a copy, or give up what is lost: waybill broker repair --accept-loss --dir %s", e.Why, e.Dir)
}

func (e *DamagedBrokerError) Unwrap() error { return e.Why }

// BrokerReport is what is in the folder of a bundled broker.
type BrokerReport struct {
	Segments int           `json:"segments"`
	Frames   int           `json:"frames"`
	Records  int           `json:"records"`
	Batches  int           `json:"batches"`
	Clean    bool          `json:"closed_in_order"`
	Torn     bool          `json:"unfinished_frame"`
	Damage   []string      `json:"damage"`
	Topics   []BrokerTopic `json:"partitions"`
}

// BrokerTopic is one partition, as far as it can be read.
type BrokerTopic struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Start     int64  `json:"start,string"`
	End       int64  `json:"end,string"` // offset behind the last record that can be read
}

// BrokerVerify reads everything in the folder of a bundled broker that does not run, and changes nothing.
func BrokerVerify(dir string) (BrokerReport, error) {
	found, err := broker.Verify(dir, vfs.OS{})
	if err != nil {
		return BrokerReport{}, err
	}
	r := BrokerReport{Segments: found.Segments, Frames: found.Frames, Records: found.Records, Batches: found.Batches, Clean: found.Clean, Torn: found.Torn, Damage: []string{}}
	for _, d := range found.Damage {
		r.Damage = append(r.Damage, d.Error())
	}
	r.Damage = append(r.Damage, found.Bad...)
	r.Topics, err = brokerTopics(dir)
	return r, err
}

func brokerTopics(dir string) (list []BrokerTopic, err error) {
	n, err := broker.Inspect(dir, vfs.OS{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	for _, t := range n.Topics() {
		for p := range int32(t.Partitions) {
			start, high, err := n.Bounds(t.Name, p)
			if err != nil {
				return nil, err
			}
			list = append(list, BrokerTopic{t.Name, p, start, high})
		}
	}
	return list, nil
}

// BrokerRepaired is what a repair gave up.
type BrokerRepaired struct {
	Damage   string        `json:"damage,omitempty"` // empty = there was none, and nothing was changed
	Bytes    int64         `json:"bytes_cut,string"`
	Segments int           `json:"segments_set_aside"`
	Topics   []BrokerTopic `json:"partitions"` // what is left
}

// BrokerRepair cuts the log of a bundled broker that does not run at its first damage.
func BrokerRepair(dir string) (BrokerRepaired, error) {
	lost, err := broker.Repair(dir, vfs.OS{})
	if err != nil {
		return BrokerRepaired{}, err
	}
	r := BrokerRepaired{Bytes: lost.Bytes, Segments: len(lost.Segments)}
	if lost.Damage != nil {
		r.Damage = lost.Damage.Error()
	}
	r.Topics, err = brokerTopics(dir)
	return r, err
}

// BrokerFrame is what stands at one place of a segment.
type BrokerFrame struct {
	At     int64    `json:"at,string"`
	Frame  uint64   `json:"frame,string"`
	Synced uint64   `json:"synced,string"` // frames up to this one were known to be on the disk when it was written
	Kind   string   `json:"kind"`
	Group  uint16   `json:"group"`
	Index  uint64   `json:"index,string"`
	Term   uint64   `json:"term,string"`
	Bytes  int      `json:"bytes"`
	Detail []string `json:"detail,omitempty"`
}

// BrokerDump gives what stands in one segment of a bundled broker that does not run, and says how it ends.
func BrokerDump(dir string, segment uint64, each func(BrokerFrame) error) (end string, err error) {
	last := commitlog.Frame{}
	d, err := broker.Dump(dir, segment, vfs.OS{}, func(d broker.Dumped) error {
		last = d.Frame
		return each(BrokerFrame{d.At, d.Frame.Seq, d.Frame.Synced, d.Kind, d.Group, d.Index, d.Term, d.Bytes, d.Detail})
	})
	switch {
	case err != nil:
		return "", err
	case d.Damage != nil:
		return "", &DamagedBrokerError{Dir: dir, Why: d.Damage}
	case d.Torn:
		end = fmt.Sprintf("at byte %d a frame was begun and never finished nor acknowledged", d.At)
	case last.Clean:
		end = "closed in order"
	case last.Last:
		end = "full: the next segment goes on"
	default:
		end = fmt.Sprintf("ends at byte %d; nothing was being written", d.At)
	}
	return end, nil
}
