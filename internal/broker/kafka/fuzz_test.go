package kafka

import (
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker"
)

// nothing is a log with one empty topic.
type nothing struct{}

func (nothing) Cluster() string        { return "cluster" }
func (nothing) Topics() []broker.Topic { return []broker.Topic{{Name: "t", Partitions: 1}} }
func (nothing) Topic(name string) (broker.Topic, bool) {
	return broker.Topic{Name: name, Partitions: 1}, name == "t"
}
func (nothing) CreateTopic(context.Context, broker.Topic) error { return broker.ErrTopicExists }
func (nothing) DeleteTopic(context.Context, string) error       { return broker.ErrUnknownTopic }
func (nothing) Append(context.Context, string, int32, []byte) (broker.Ack, error) {
	return broker.Ack{}, nil
}
func (nothing) Bounds(topic string, _ int32) (int64, int64, error) {
	if topic != "t" {
		return 0, 0, broker.ErrUnknownTopic
	}
	return 0, 0, nil
}
func (nothing) Read(context.Context, string, int32, int64, int) ([]broker.StoredBatch, error) {
	return nil, nil
}
func (nothing) Wait(context.Context, ...broker.Point) error { return broker.ErrStopped }

// requests is one of each kind in each version that is offered.
func requests() (list [][]byte) {
	for _, a := range table {
		for v := a.min; v <= a.max; v++ {
			req := kmsg.RequestForKey(a.key)
			req.SetVersion(v)
			list = append(list, frame(req, 1)[4:])
		}
	}
	list = append(list, frame(produceOf(9, -1, "t", batch("v")), 1)[4:], frame(produceOf(3, 0, "t", batch("v")), 1)[4:], frame(fetchOf("t", 0), 1)[4:],
		frame(offsetsOf("t", timeHighest), 1)[4:])
	return list
}

// Whatever comes is answered or ends the connection, and an answer can be read by the one who asked.
func FuzzRequest(f *testing.F) {
	for _, b := range requests() {
		f.Add(b)
	}
	s, err := New(Config{Log: nothing{}, Advertise: "127.0.0.1:9092"})
	must(f, err)
	nc, other := net.Pipe()
	defer nc.Close()
	defer other.Close()
	f.Fuzz(func(t *testing.T, b []byte) {
		h, body, err := parseHeader(b)
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		defer cancel()
		c := &conn{Server: s, nc: nc}
		resp, err := c.handle(ctx, h, body)
		c.free()
		c.forget()
		if err != nil || resp == nil {
			return
		}
		again := kmsg.ResponseForKey(resp.Key())
		again.SetVersion(resp.GetVersion())
		if err := again.ReadFrom(resp.AppendTo(nil)); err != nil {
			t.Fatalf("%T in version %d cannot be read: %v", resp, resp.GetVersion(), err)
		}
	})
}

// What is counted before it is decoded is what is decoded.
func FuzzProduceItems(f *testing.F) {
	for _, version := range []int16{0, 3, 9} {
		req := produceOf(version, -1, "t", batch("v"), nil, batch("w"))
		req.Version = version
		f.Add(req.AppendTo(nil), version)
	}
	f.Add(binary.AppendUvarint([]byte{0, 0, 1, 0, 0, 0, 0}, 1<<31), int16(9))
	f.Fuzz(func(t *testing.T, b []byte, version int16) {
		if version < 0 || version > 9 {
			return
		}
		items, whole := produceItems(b, version)
		if items > len(b) {
			t.Fatalf("%d items in %d bytes", items, len(b))
		}
		if !whole || items > 1000 {
			return
		}
		req := kmsg.NewPtrProduceRequest()
		req.Version = version
		if req.ReadFrom(b) != nil {
			return
		}
		n := 0
		for _, topic := range req.Topics {
			n += 1 + len(topic.Partitions)
		}
		if n > items {
			t.Fatalf("%d items were counted as %d", n, items)
		}
	})
}
