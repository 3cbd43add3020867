package kafka

import (
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
)

// produceOverride is the key under which the library finds our request type; its own raw produce has 0.
const produceOverride protocol.OverrideTypeKey = 100

func init() {
	protocol.RegisterOverride(&produceRequest{}, &produce.Response{}, produceOverride)
}

var (
	errNoBroker  = errors.New("kafka: the leader is not among the known brokers")
	errWithdrawn = errors.New("kafka: the request was given up before it was sent")
)

// produceRequest is Produce v3 to v8 (Kafka protocol guide) with record sets that are encoded already, sent to a leader that we have chosen ourselves.
type produceRequest struct {
	TransactionalID string         `kafka:"min=v3,max=v8,nullable"`
	Acks            int16          `kafka:"min=v3,max=v8"`
	Timeout         int32          `kafka:"min=v3,max=v8"` // ms
	Topics          []produceTopic `kafka:"min=v3,max=v8"`

	leader int32
}

type produceTopic struct {
	Topic      string             `kafka:"min=v3,max=v8"`
	Partitions []producePartition `kafka:"min=v3,max=v8"`
}

type producePartition struct {
	Partition int32     `kafka:"min=v3,max=v8"`
	Records   recordSet `kafka:"min=v3,max=v8"`
}

func (r *produceRequest) ApiKey() protocol.ApiKey           { return protocol.Produce }
func (r *produceRequest) TypeKey() protocol.OverrideTypeKey { return produceOverride }
func (r *produceRequest) Broker(c protocol.Cluster) (protocol.Broker, error) {
	b, ok := c.Brokers[r.leader]
	if !ok {
		return protocol.Broker{ID: -1}, errNoBroker
	}
	return b, nil
}

// flight is one open batch on its way. The lane that made it reads answer after done is closed; buf is only read.
type flight struct {
	lane   *lane
	buf    []byte // 4-byte size, then the batch
	state  atomic.Int32
	done   chan struct{}
	answer answer
}

// The states of a flight: the library begins to encode a request just before it writes it, so a flight that never was encoded was certainly not sent.
const (
	flightWaiting int32 = iota
	flightStarted
	flightWithdrawn
)

// withdraw makes sure that the flight will not be sent, and says whether it was in time.
func (f *flight) withdraw() bool { return f.state.CompareAndSwap(flightWaiting, flightWithdrawn) }

func (f *flight) resolve(a answer) {
	f.answer = a
	close(f.done)
}

// recordSet writes a flight into a request.
type recordSet struct{ flight *flight }

func (s *recordSet) WriteTo(w io.Writer) (int64, error) {
	f := s.flight
	if f == nil || !f.state.CompareAndSwap(flightWaiting, flightStarted) {
		return 0, errWithdrawn
	}
	n, err := w.Write(f.buf)
	return int64(n), err
}

// request builds one request of several flights, at most one of a partition.
func request(leader int32, timeoutMillis int32, flights []*flight) *produceRequest {
	r := &produceRequest{Acks: -1, Timeout: timeoutMillis, leader: leader}
	for _, f := range flights {
		part := producePartition{Partition: f.lane.at.Index, Records: recordSet{f}}
		t := len(r.Topics) - 1
		for t >= 0 && r.Topics[t].Topic != f.lane.at.Topic {
			t--
		}
		if t < 0 {
			r.Topics = append(r.Topics, produceTopic{Topic: f.lane.at.Topic, Partitions: make([]producePartition, 0, len(flights))})
			t = len(r.Topics) - 1
		}
		r.Topics[t].Partitions = append(r.Topics[t].Partitions, part)
	}
	return r
}

// recordBytes is the length of the record set of an encoded batch.
func recordBytes(buf []byte) int { return int(binary.BigEndian.Uint32(buf)) }
