package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

const (
	fetchBytes = 4 << 20
	fetchWait  = 500 * time.Millisecond
	readTries  = 20
	readPause  = 250 * time.Millisecond
)

// Record is one record of a partition as it lies at the broker.
type Record struct {
	Partition int32
	Offset    int64
	Key       []byte // nil = null
	Value     []byte // nil = null, a tombstone
	Headers   []Header
	At        time.Time // record timestamp, to the millisecond
}

// Header is a header as bytes: other producers may write what is not text.
type Header struct {
	Name  string
	Value []byte
}

// Header returns the first header of that name.
func (r *Record) Header(name string) (string, bool) {
	for _, h := range r.Headers {
		if h.Name == name {
			return string(h.Value), true
		}
	}
	return "", false
}

// ReadAll is Config.ReadAll of a cluster without TLS and login.
func ReadAll(ctx context.Context, brokers []string, topic string, f func(Record) error) error {
	cfg := DefaultConfig()
	cfg.Brokers = brokers
	return cfg.ReadAll(ctx, topic, f)
}

// ReadAll gives f every record of a topic that lies there when it is called: partition by partition, each from its first offset to its present end, in
// offset order. It reads what is committed to the in-sync replicas (up to the high watermark), aborted transactions included, and every compression. It
// bears with a leader that moves or is away for some seconds. Of the configuration it uses what connecting needs, and it asks for no trust. The record and
// its bytes are f's to keep. It ends with the first error of f.
func (c Config) ReadAll(ctx context.Context, topic string, f func(Record) error) error {
	r := c.NewReader(topic)
	defer r.Close()
	parts, err := r.partitions(ctx)
	if err != nil {
		return fmt.Errorf("kafka: read %q: %w", topic, err)
	}
	ends, err := r.ends(ctx, parts)
	if err != nil {
		return fmt.Errorf("kafka: read %q: find the ends: %w", topic, err)
	}
	for _, e := range ends {
		if err := r.partition(ctx, e, f); err != nil {
			return fmt.Errorf("kafka: read %q, partition %d: %w", topic, e.Partition, err)
		}
	}
	return nil
}

// Reader reads one topic back. Not safe for concurrent use.
type Reader struct {
	c     *kafka.Client
	tr    *kafka.Transport
	d     *dialer
	topic string
}

// NewReader connects with the first question, as ReadAll does.
func (c Config) NewReader(topic string) *Reader {
	d := newDialer(c, func() string { return "" })
	tr := &kafka.Transport{Dial: d.plain, DialTimeout: c.Timeouts.Connect, ClientID: "waybill-read", MetadataTopics: []string{topic}, MetadataTTL: 2 * time.Second}
	return &Reader{c: &kafka.Client{Addr: kafka.TCP(c.Brokers...), Transport: tr}, topic: topic, tr: tr, d: d}
}

// Close ends the connections.
func (r *Reader) Close() {
	r.tr.CloseIdleConnections()
	r.d.close()
}

// again calls f until it succeeds, a limited number of times: leaders move, brokers start.
func (r *Reader) again(ctx context.Context, f func() error) error {
	var err error
	for range readTries {
		if err = f(); err == nil || ctx.Err() != nil {
			return err
		}
		r.tr.CloseIdleConnections()
		select {
		case <-time.After(readPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (r *Reader) partitions(ctx context.Context) (parts []int, err error) {
	err = r.again(ctx, func() error {
		res, err := r.c.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{r.topic}})
		if err != nil {
			return err
		}
		if len(res.Topics) != 1 {
			return protocol.ErrNoTopic
		}
		if err := res.Topics[0].Error; err != nil {
			return err
		}
		parts = parts[:0]
		for _, p := range res.Topics[0].Partitions {
			parts = append(parts, p.ID)
		}
		slices.Sort(parts)
		return nil
	})
	return parts, err
}

// ends asks for the first and the end offset of each partition.
func (r *Reader) ends(ctx context.Context, parts []int) (ends []kafka.PartitionOffsets, err error) {
	err = r.again(ctx, func() error {
		var ask []kafka.OffsetRequest
		for _, p := range parts {
			ask = append(ask, kafka.LastOffsetOf(p), kafka.FirstOffsetOf(p))
		}
		res, err := r.c.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{r.topic: ask}})
		if err != nil {
			return err
		}
		ends = res.Topics[r.topic]
		for _, e := range ends {
			if e.Error != nil {
				return e.Error
			}
		}
		if len(ends) != len(parts) {
			return fmt.Errorf("asked for %d partitions, got %d", len(parts), len(ends))
		}
		slices.SortFunc(ends, func(a, b kafka.PartitionOffsets) int { return a.Partition - b.Partition })
		return nil
	})
	return ends, err
}

func (r *Reader) partition(ctx context.Context, e kafka.PartitionOffsets, f func(Record) error) error {
	next := e.FirstOffset
	var own error // f's, which ends it
	for next < e.LastOffset {
		before := next
		err := r.again(ctx, func() error {
			var err error
			next, err = r.fetch(ctx, e.Partition, next, e.LastOffset, func(rec Record) error {
				own = f(rec)
				return own
			})
			if own != nil || next > before {
				return nil // f's own end, or progress before the trouble
			}
			return err
		})
		if own != nil {
			return own
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fetch reads one answer from offset next on, and returns the offset that follows what it has given to f.
func (r *Reader) fetch(ctx context.Context, partition int, next, end int64, f func(Record) error) (int64, error) {
	res, err := r.c.Fetch(ctx, &kafka.FetchRequest{Topic: r.topic, Partition: partition, Offset: next, MinBytes: 1, MaxBytes: fetchBytes, MaxWait: fetchWait})
	if err != nil {
		return next, err
	}
	defer closeRecords(res.Records)
	if res.Error != nil {
		return next, res.Error
	}
	if next < res.LogStartOffset { // retention took what we have not read yet
		return res.LogStartOffset, nil
	}
	given := false
	for next < end {
		rec, err := res.Records.ReadRecord()
		if err != nil {
			if given {
				return next, nil // the end of the answer, or a batch that was cut off: the next fetch begins there
			}
			return next, fmt.Errorf("no record at offset %d: %w", next, err)
		}
		if rec.Offset < next { // the answer begins with the whole batch that holds the offset
			continue
		}
		if rec.Offset >= end {
			return end, nil
		}
		out, err := recordOf(partition, rec)
		if err != nil {
			return next, err
		}
		if err := f(out); err != nil {
			return next, err
		}
		next, given = rec.Offset+1, true
	}
	return next, nil
}

func recordOf(partition int, rec *kafka.Record) (Record, error) {
	r := Record{Partition: int32(partition), Offset: rec.Offset, At: rec.Time}
	var errs [2]error
	r.Key, errs[0] = protocol.ReadAll(rec.Key)
	r.Value, errs[1] = protocol.ReadAll(rec.Value)
	for _, h := range rec.Headers {
		r.Headers = append(r.Headers, Header{h.Key, h.Value})
	}
	return r, errors.Join(errs[:]...)
}

func closeRecords(r kafka.RecordReader) {
	if c, ok := r.(interface{ Close() error }); ok {
		_ = c.Close()
	}
}
