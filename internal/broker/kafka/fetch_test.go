package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker"
)

func offsetsOf(topic string, time int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version = 7
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = time
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func TestFetch(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 2)
	r := p.dial(t)
	first, second := batch("a", "b"), batch("c")
	ask[*kmsg.ProduceResponse](r, produceOf(9, -1, "orders", first))
	ask[*kmsg.ProduceResponse](r, produceOf(9, -1, "orders", second))
	both := len(first) + len(second)
	for _, c := range []struct {
		what         string
		topic        string
		offset       int64
		bytes, each  int32
		code         int16
		size         int
		high, oldest int64
	}{
		{"all", "orders", 0, 1 << 20, 1 << 20, codeNone, both, 3, 0},
		{"from the middle of a batch", "orders", 1, 1 << 20, 1 << 20, codeNone, both, 3, 0},
		{"the second batch", "orders", 2, 1 << 20, 1 << 20, codeNone, len(second), 3, 0},
		{"at the end", "orders", 3, 1 << 20, 1 << 20, codeNone, 0, 3, 0},
		{"behind the end", "orders", 4, 1 << 20, 1 << 20, codeOffsetOutOfRange, 0, -1, -1},
		{"before the start", "orders", -1, 1 << 20, 1 << 20, codeOffsetOutOfRange, 0, -1, -1},
		{"one byte: a batch all the same", "orders", 0, 1, 1 << 20, codeNone, len(first), 3, 0},
		{"one byte of a partition", "orders", 0, 1 << 20, 1, codeNone, len(first), 3, 0},
		{"a byte too few", "orders", 0, int32(both) - 1, 1 << 20, codeNone, len(first), 3, 0},
		{"an unknown topic", "typo", 0, 1 << 20, 1 << 20, codeUnknownTopicOrPartition, 0, -1, -1},
	} {
		req := fetchOf(c.topic, c.offset)
		req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = c.bytes, c.each
		got := ask[*kmsg.FetchResponse](r, req).Topics[0].Partitions[0]
		if got.ErrorCode != c.code || len(got.RecordBatches) != c.size || got.HighWatermark != c.high || got.LogStartOffset != c.oldest || got.LastStableOffset != c.high {
			t.Errorf("%s: code %d, %d bytes, %d to %d; want %+v", c.what, got.ErrorCode, len(got.RecordBatches), got.LogStartOffset, got.HighWatermark, c)
		}
		if got.PreferredReadReplica != -1 || got.CurrentLeader.LeaderID != -1 || got.CurrentLeader.LeaderEpoch != -1 {
			t.Errorf("%s: what is not set is not -1: %+v", c.what, got)
		}
		if c.size > len(second) && binary.BigEndian.Uint64(got.RecordBatches) != 0 {
			t.Errorf("%s: the base offset is %d", c.what, binary.BigEndian.Uint64(got.RecordBatches))
		}
	}
	got := ask[*kmsg.FetchResponse](r, fetchOf("orders", 2)).Topics[0].Partitions[0].RecordBatches
	if base, epoch := binary.BigEndian.Uint64(got), int32(binary.BigEndian.Uint32(got[batchEpochAt:])); base != 2 || epoch != -1 {
		t.Errorf("base offset %d, epoch %d", base, epoch)
	}
}

// A first partition gets a batch whatever its size, and those behind it what fits.
func TestFetchOfManyPartitions(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 3)
	r := p.dial(t)
	req := produceOf(9, -1, "orders", batch("a"), batch("b"), batch("c"))
	fetch := fetchOf("orders", 0)
	for i := range int32(3) {
		req.Topics[0].Partitions[i].Partition = i
		if i > 0 {
			part := fetch.Topics[0].Partitions[0]
			part.Partition = i
			fetch.Topics[0].Partitions = append(fetch.Topics[0].Partitions, part)
		}
	}
	ask[*kmsg.ProduceResponse](r, req)
	size := int32(len(batch("a")))
	for bytes, want := range map[int32]string{1: "[1 0 0]", size: "[1 0 0]", 2*size - 1: "[1 0 0]", 2 * size: "[1 1 0]", 3 * size: "[1 1 1]"} {
		fetch.MaxBytes = bytes
		var sizes []int
		for _, a := range ask[*kmsg.FetchResponse](r, fetch).Topics[0].Partitions {
			sizes = append(sizes, len(a.RecordBatches)/int(size))
		}
		if got := fmt.Sprint(sizes); got != want {
			t.Errorf("%d bytes: %s, want %s", bytes, got, want)
		}
	}
}

// counted is a log that counts what is read of it.
type counted struct {
	Log
	reads atomic.Int64
}

func (c *counted) Read(ctx context.Context, topic string, partition int32, from int64, maxBytes int) ([]broker.StoredBatch, error) {
	c.reads.Add(1)
	return c.Log.Read(ctx, topic, partition, from, maxBytes)
}

// Nothing is read behind the first batch that does not fit: it was read in vain, and so would be all others.
func TestFetchStopsWhenFull(t *testing.T) {
	log := &counted{}
	p := start(t, t.TempDir(), func(c *Config) { log.Log, c.Log = c.Log, log })
	create(t, p, "orders", 10)
	r := p.dial(t)
	large := batch(string(make([]byte, 10_000)))
	req := produceOf(9, -1, "orders", batch("a"), large, large, large, large, large, large, large, large, large)
	fetch := fetchOf("orders", 0)
	for i := range int32(10) {
		req.Topics[0].Partitions[i].Partition = i
		if i > 0 {
			part := fetch.Topics[0].Partitions[0]
			part.Partition = i
			fetch.Topics[0].Partitions = append(fetch.Topics[0].Partitions, part)
		}
	}
	ask[*kmsg.ProduceResponse](r, req)
	r.loaded()
	for each, want := range map[int32]int64{1 << 20: 2, 1: 2} {
		fetch.MaxBytes = 5_000
		before := log.reads.Load()
		for i := range fetch.Topics[0].Partitions {
			fetch.Topics[0].Partitions[i].PartitionMaxBytes = each
		}
		got := ask[*kmsg.FetchResponse](r, fetch).Topics[0].Partitions
		if n := log.reads.Load() - before; n != want || len(got) != 10 || len(got[0].RecordBatches) == 0 || got[9].HighWatermark != 1 {
			t.Errorf("%d bytes of each: %d reads, want %d: %+v", each, n, want, got)
		}
	}
}

// A Fetch at the end waits for records as long as it likes, and for as many bytes.
func TestFetchWaits(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 2)
	consumer, producer := p.dial(t), p.dial(t)
	req := fetchOf("orders", 0)
	req.MaxWaitMillis = 15_000
	second := req.Topics[0].Partitions[0]
	second.Partition = 1
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, second)
	begun := time.Now()
	consumer.send(req)
	ask[*kmsg.ProduceResponse](producer, produceOf(9, -1, "orders", batch("a")))
	got := consumer.receive(req, consumer.n).(*kmsg.FetchResponse)
	if len(got.Topics[0].Partitions[0].RecordBatches) == 0 || time.Since(begun) > 10*time.Second {
		t.Errorf("after %v: %+v", time.Since(begun), got.Topics[0].Partitions)
	}
	req.MinBytes = int32(2 * len(batch("a")))
	consumer.send(req)
	ask[*kmsg.ProduceResponse](producer, produceOf(9, -1, "orders", batch("b")))
	got = consumer.receive(req, consumer.n).(*kmsg.FetchResponse)
	if n := len(got.Topics[0].Partitions[0].RecordBatches); n < int(req.MinBytes) {
		t.Errorf("%d bytes, want %d", n, req.MinBytes)
	}
	req.MinBytes, req.MaxWaitMillis = 1<<20, 50
	if got = ask[*kmsg.FetchResponse](consumer, req); len(got.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Error("when the time is up, what is there is not given")
	}
	req.Topics = nil
	ask[*kmsg.FetchResponse](consumer, req)
}

func TestListOffsets(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 1)
	r := p.dial(t)
	find := func(time int64) (offset, found int64) {
		a := ask[*kmsg.ListOffsetsResponse](r, offsetsOf("orders", time)).Topics[0].Partitions[0]
		if a.ErrorCode != 0 || a.LeaderEpoch != -1 {
			t.Errorf("%+v", a)
		}
		return a.Offset, a.Timestamp
	}
	if offset, found := find(timeHighest); offset != -1 || found != -1 {
		t.Errorf("the highest of nothing: %d at %d", offset, found)
	}
	for _, time := range []uint64{100, 300, 200} {
		b := batch("a", "b")
		binary.BigEndian.PutUint64(b[batchMaxTimeAt:], time)
		ask[*kmsg.ProduceResponse](r, produceOf(9, -1, "orders", sealed(b)))
	}
	for _, c := range []struct{ time, offset, found int64 }{
		{timeEarliest, 0, -1}, {timeLatest, 6, -1}, {timeHighest, 3, 300}, {0, 0, 100}, {100, 0, 100}, {101, 2, 300}, {250, 2, 300}, {301, -1, -1},
	} {
		if offset, found := find(c.time); offset != c.offset || found != c.found {
			t.Errorf("%d: %d at %d, want %d at %d", c.time, offset, found, c.offset, c.found)
		}
	}
	if a := ask[*kmsg.ListOffsetsResponse](r, offsetsOf("typo", timeLatest)).Topics[0].Partitions[0]; a.ErrorCode != codeUnknownTopicOrPartition || a.Offset != -1 {
		t.Errorf("%+v", a)
	}
	if a := ask[*kmsg.ListOffsetsResponse](r, offsetsOf("orders", -9)).Topics[0].Partitions[0]; a.ErrorCode != codeInvalidRequest {
		t.Errorf("%+v", a)
	}
}
