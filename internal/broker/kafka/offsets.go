package kafka

import (
	"context"
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker"
)

// What a client asks ListOffsets for, besides a time.
const (
	timeLatest   = -1
	timeEarliest = -2
	timeHighest  = -3 // the record with the highest timestamp
)

// searches is how many requests search by time at once. Each takes a megabyte or two, and reads for as long as its partitions are.
const searches = 8

// listOffsets finds offsets by time.
func (c *conn) listOffsets(ctx context.Context, req *kmsg.ListOffsetsRequest) (kmsg.Response, error) {
	things, text, byTime := trimOffsets(req)
	if byTime && c.maySearch(ctx) {
		defer c.searching.Release(1)
		c.forget() // a search may be long, and few search
		resp := c.offsetsOf(ctx, req, true)
		return resp, c.room(ctx, things, text)
	}
	if err := c.room(ctx, things, text); err != nil {
		return nil, err
	}
	return c.offsetsOf(ctx, req, false), nil
}

// maySearch waits for one of the places of those who search, and says whether it was given one.
func (c *conn) maySearch(ctx context.Context) bool {
	wait, cancel := context.WithTimeout(ctx, c.cfg.Half)
	defer cancel()
	return c.searching.Acquire(wait, 1) == nil
}

// trimOffsets drops what is named again, counts the rest, and says whether something is asked for by time.
func trimOffsets(req *kmsg.ListOffsetsRequest) (things int, text int64, byTime bool) {
	seen := named{}
	kept := req.Topics[:0]
	for _, t := range req.Topics {
		var needless bool
		if t.Partitions, needless = rest(seen, t.Topic, t.Partitions, func(p kmsg.ListOffsetsRequestTopicPartition) int32 { return p.Partition }); needless {
			continue
		}
		kept, things, text = append(kept, t), things+1+len(t.Partitions), text+int64(len(t.Topic))
		for _, p := range t.Partitions {
			byTime = byTime || isSearch(req, p)
		}
	}
	req.Topics = kept
	return things, text, byTime
}

// offsetsOf answers; without searching it asks to come again for what is searched.
func (c *conn) offsetsOf(ctx context.Context, req *kmsg.ListOffsetsRequest, searching bool) *kmsg.ListOffsetsResponse {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, t := range req.Topics {
		answer := kmsg.NewListOffsetsResponseTopic()
		answer.Topic = t.Topic
		for _, p := range t.Partitions {
			a := kmsg.NewListOffsetsResponseTopicPartition()
			a.Partition, a.Offset, a.Timestamp, a.LeaderEpoch = p.Partition, -1, -1, unknownEpoch
			var err error
			switch {
			case p.Timestamp == timeLatest:
				_, a.Offset, err = c.cfg.Log.Bounds(t.Topic, p.Partition)
			case p.Timestamp == timeEarliest:
				a.Offset, _, err = c.cfg.Log.Bounds(t.Topic, p.Partition)
			case !isSearch(req, p):
				a.ErrorCode = codeInvalidRequest
			case !searching:
				a.ErrorCode = codeRequestTimedOut // which clients try again
			default:
				a.Offset, a.Timestamp, err = c.byTime(ctx, place{t.Topic, p.Partition}, p.Timestamp)
			}
			if err != nil {
				a.ErrorCode, a.Offset, a.Timestamp = codeOf(err), -1, -1
			}
			answer.Partitions = append(answer.Partitions, a)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}

// isSearch says that a partition is to be searched by time, behind the other two questions.
func isSearch(req *kmsg.ListOffsetsRequest, p kmsg.ListOffsetsRequestTopicPartition) bool {
	return p.Timestamp >= 0 || p.Timestamp == timeHighest && req.Version >= 7
}

// scan is how much is read at a time in search of a time.
const scan = 1 << 20

// byTime is the first batch with a record of that time or later, by the highest timestamp of each batch; or the last record of the batch with the highest of all. The
// partition is read from its start: producers say the times, so they are in no order, and the node keeps no index of them.
func (c *conn) byTime(ctx context.Context, at place, time int64) (offset, found int64, err error) {
	from, end, err := c.cfg.Log.Bounds(at.topic, at.partition)
	offset, found = -1, -1
	for from < end && err == nil {
		var batches []broker.StoredBatch
		batches, err = c.cfg.Log.Read(ctx, at.topic, at.partition, from, scan)
		if len(batches) == 0 {
			break
		}
		for _, b := range batches {
			highest := int64(binary.BigEndian.Uint64(b.Bytes[batchMaxTimeAt:]))
			from = b.Base + int64(binary.BigEndian.Uint32(b.Bytes[batchCountAt:]))
			switch {
			case time == timeHighest && highest > found:
				offset, found = from-1, highest
			case time >= 0 && highest >= time:
				return b.Base, highest, nil
			}
		}
	}
	return offset, found, err
}
