package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker"
)

// longest is how long a Fetch may wait, whatever it asks for.
const longest = time.Minute

// fetch returns records, and waits for them as long as the client likes. Sessions are not offered: its id is 0, so each request names all its partitions.
func (c *conn) fetch(ctx context.Context, req *kmsg.FetchRequest) (kmsg.Response, error) {
	wait, cancel := context.WithTimeout(ctx, min(longest, max(0, time.Duration(req.MaxWaitMillis)*time.Millisecond)))
	defer cancel()
	items := itemsOf(req)
	if items > mostItems {
		return nil, fmt.Errorf("a Fetch of %d topics and partitions: %d are taken", items, mostItems)
	}
	for {
		waits := c.behind(req)
		if waits != nil && !c.await(wait, items, waits) {
			return c.fetched(ctx, req)
		}
		resp, size, err := c.answerable(ctx, req)
		if err != nil || size < 0 || size >= int(req.MinBytes) || size >= c.cfg.Response || wait.Err() != nil {
			return resp, err
		}
		c.free()
		if !c.await(wait, items, ends(resp)) {
			return c.fetched(ctx, req)
		}
	}
}

func itemsOf(req *kmsg.FetchRequest) (n int) {
	for _, t := range req.Topics {
		n += 1 + len(t.Partitions)
	}
	return n
}

func (c *conn) fetched(ctx context.Context, req *kmsg.FetchRequest) (kmsg.Response, error) {
	resp, _, err := c.answerable(ctx, req)
	return resp, err
}

// behind are the ends of all partitions that are asked for; nil when there is something to say already.
func (c *conn) behind(req *kmsg.FetchRequest) (waits []broker.Point) {
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			_, high, err := c.cfg.Log.Bounds(t.Topic, p.Partition)
			if err != nil || high != p.FetchOffset {
				return nil
			}
			waits = append(waits, broker.Point{Topic: t.Topic, Partition: p.Partition, Offset: high})
		}
	}
	return waits
}

// ends are the places behind what an answer holds.
func ends(resp *kmsg.FetchResponse) (waits []broker.Point) {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			waits = append(waits, broker.Point{Topic: t.Topic, Partition: p.Partition, Offset: p.HighWatermark})
		}
	}
	return waits
}

// crowded is how long a Fetch pauses before it looks again, when so many wait that it gets no place among them.
const crowded = 100 * time.Millisecond

// await returns true when it is worth to look again: one of the partitions has grown, as a rule; false when the time is up, or a partition has an error to tell. It gives
// back the memory of the request: what of it is still needed counts among the items of all Fetches that wait. Nothing to wait for takes all the time.
func (c *conn) await(ctx context.Context, items int, waits []broker.Point) bool {
	if c.waits.TryAcquire(int64(items)) {
		defer c.waits.Release(int64(items))
		c.forget()
		return c.cfg.Log.Wait(ctx, waits...) == nil
	}
	t := time.NewTimer(crowded)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// answerable is the answer as of now, and the bytes of records in it; -1 when a partition is refused, which nobody waits with.
func (c *conn) answerable(ctx context.Context, req *kmsg.FetchRequest) (*kmsg.FetchResponse, int, error) {
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	most := int(min(int64(c.cfg.Response), max(0, int64(req.MaxBytes))))
	most, err := c.reserve(ctx, most)
	if err != nil {
		return nil, 0, errClosed
	}
	size, refused, full := 0, false, false
	for _, t := range req.Topics {
		answer := kmsg.NewFetchResponseTopic()
		answer.Topic = t.Topic
		for _, p := range t.Partitions {
			room := most - size
			if full { // what was read and does not fit is dropped: a client could have a megabyte read for each of its partitions
				room = 0
			}
			a, whole := c.fetchOne(ctx, t.Topic, p, room, size == 0)
			size += len(a.RecordBatches)
			full = full || !whole
			refused = refused || a.ErrorCode != codeNone
			answer.Partitions = append(answer.Partitions, a)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	c.keep(size)
	if refused {
		size = -1
	}
	return resp, size, nil
}

// reserve takes memory for an answer of most bytes, for less when others have it; enough for one batch in any case. It is given back by free.
func (c *conn) reserve(ctx context.Context, most int) (int, error) {
	held := max(most, broker.MaxMessage) // the first batch is given whole, however little was asked for
	if !c.responses.TryAcquire(int64(held)) {
		most, held = min(most, broker.MaxMessage), broker.MaxMessage
		if err := c.responses.Acquire(ctx, int64(held)); err != nil {
			return 0, err
		}
	}
	c.held = int64(held)
	return most, nil
}

// keep gives back what an answer of size bytes does not need.
func (c *conn) keep(size int) {
	if more := c.held - int64(size); more > 0 {
		c.responses.Release(more)
		c.held -= more
	}
}

func (c *conn) free() { c.keep(0) }

// fetchOne reads one partition: at most room bytes, but a first batch whatever its size, so that a consumer comes by it. Not whole: a batch was read that does not fit.
func (c *conn) fetchOne(ctx context.Context, topic string, p kmsg.FetchRequestTopicPartition, room int, first bool) (a kmsg.FetchResponseTopicPartition, whole bool) {
	a, whole = kmsg.NewFetchResponseTopicPartition(), true
	a.Partition, a.HighWatermark, a.LastStableOffset, a.LogStartOffset, a.PreferredReadReplica = p.Partition, -1, -1, -1, -1
	a.CurrentLeader.LeaderID, a.CurrentLeader.LeaderEpoch = -1, -1
	a.RecordBatches = []byte{} // kafka-go fails on null
	room = min(room, int(max(0, p.PartitionMaxBytes)))
	if first || room > 0 {
		// without room the offset is not looked at: the next Fetch says what is wrong with it
		batches, err := c.cfg.Log.Read(ctx, topic, p.Partition, p.FetchOffset, room)
		if err != nil {
			a.ErrorCode = codeOf(err)
			return a, whole
		}
		for _, b := range batches {
			if len(a.RecordBatches)+len(b.Bytes) > room && (!first || len(a.RecordBatches) > 0) {
				whole = false
				break
			}
			binary.BigEndian.PutUint32(b.Bytes[batchEpochAt:], 0xffffffff) // before what the crc covers
			if len(a.RecordBatches) == 0 {
				a.RecordBatches = b.Bytes
				continue
			}
			a.RecordBatches = append(a.RecordBatches, b.Bytes...)
		}
	}
	start, high, err := c.cfg.Log.Bounds(topic, p.Partition) // after the read: records lie below it
	if err != nil {
		a.ErrorCode, a.RecordBatches = codeOf(err), []byte{}
		return a, whole
	}
	a.HighWatermark, a.LastStableOffset, a.LogStartOffset = high, high, start
	return a, whole
}
