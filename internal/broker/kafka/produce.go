package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker"
)

// appends is how many batches of one request are handed to the node at once.
const appends = 32

// produce stores the batches of a request. Acks 1 and -1 are the same promise, 0 the same way without an answer; as that client hears of nothing, an error
// ends its connection.
func (c *conn) produce(ctx context.Context, req *kmsg.ProduceRequest) (kmsg.Response, error) {
	if req.TimeoutMillis > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.TimeoutMillis)*time.Millisecond)
		defer cancel()
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	resp.Topics = make([]kmsg.ProduceResponseTopic, len(req.Topics))
	row := storing{c: c, places: make(chan struct{}, appends), seen: map[place]bool{}}
	for i, t := range req.Topics {
		answer := &resp.Topics[i]
		answer.Topic, answer.Partitions = t.Topic, make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
		for j, p := range t.Partitions {
			a := &answer.Partitions[j]
			*a = kmsg.NewProduceResponseTopicPartition()
			a.Partition, a.BaseOffset, a.LogAppendTime, a.LogStartOffset = p.Partition, -1, -1, -1
			a.CurrentLeader.LeaderID, a.CurrentLeader.LeaderEpoch = -1, -1
			if a.ErrorCode = refuse(req, p.Records); a.ErrorCode == codeNone {
				row.store(ctx, place{t.Topic, p.Partition}, p.Records, a)
			}
		}
	}
	row.wait()
	if req.Acks != 0 {
		return resp, nil
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != codeNone {
				return nil, fmt.Errorf("a batch for %s, partition %d without acks was refused with code %d", t.Topic, p.Partition, p.ErrorCode)
			}
		}
	}
	return nil, nil
}

// What stands where in a record batch; [fsm.Batch] has the whole picture.
const (
	batchHeader     = 61
	batchEpochAt    = 12
	batchMagicAt    = 16
	batchAttributes = 21
	batchDeltaAt    = 23
	batchMaxTimeAt  = 35
	batchCountAt    = 57

	attributeCodec   = 0x07
	codecZstd        = 4
	attributeControl = 0x20 | 0x10 // control batches and those of transactions
)

// refuse looks at what the node does not: it checks length and crc, and whether there is a batch at all.
func refuse(req *kmsg.ProduceRequest, records []byte) int16 {
	be := binary.BigEndian
	switch {
	case req.Version < 3: // formats before version 2; these versions are told because librdkafka sends no compressed batch to whoever has them not
		return codeUnsupportedVersion
	case req.TransactionID != nil:
		return codeInvalidRequest
	case req.Acks < -1 || req.Acks > 1:
		return codeInvalidRequiredAcks
	case len(records) < batchHeader || records[batchMagicAt] != 2:
		return codeCorruptMessage
	case int64(be.Uint32(records[8:])) < int64(len(records)-12):
		return codeInvalidRecord // more than one batch
	}
	attributes := be.Uint16(records[batchAttributes:])
	switch {
	case attributes&attributeControl != 0:
		return codeInvalidRecord
	case attributes&attributeCodec > codecZstd, attributes&attributeCodec == codecZstd && req.Version < 7:
		return codeUnsupportedCompression
	case int64(be.Uint32(records[batchCountAt:])) != int64(be.Uint32(records[batchDeltaAt:]))+1:
		return codeInvalidRecord
	}
	return codeNone
}

type place struct {
	topic     string
	partition int32
}

// storing hands the batches of one request to the node, those of a partition one after the other.
type storing struct {
	c       *conn
	places  chan struct{}
	seen    map[place]bool
	running sync.WaitGroup
}

// store begins to store a batch; a is written until wait returns.
func (s *storing) store(ctx context.Context, at place, batch []byte, a *kmsg.ProduceResponseTopicPartition) {
	if s.seen[at] { // twice in one request: in the order in which they stand there
		s.wait()
	}
	s.seen[at] = true
	s.places <- struct{}{}
	s.running.Go(func() {
		defer func() { <-s.places }()
		ack, err := s.c.cfg.Log.Append(ctx, at.topic, at.partition, batch)
		a.ErrorCode = codeOf(err)
		if err == nil {
			a.BaseOffset = ack.Base
			if start, _, err := s.c.cfg.Log.Bounds(at.topic, at.partition); err == nil {
				a.LogStartOffset = start
			}
		} else {
			text := err.Error()
			a.ErrorMessage = &text
		}
	})
}

func (s *storing) wait() {
	s.running.Wait()
	clear(s.seen)
}

var _ Log = (*broker.Node)(nil)
