package kafka

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/relay"
)

// A part of a partition is read as it lies there: the offsets that are asked for and no others, less what retention took; nothing lies behind the end; an error of the caller ends it.
func TestRangeOfAPartition(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "a"))
	p := newPublisher(t, c.ListenAddrs(), nil)
	opened(t, p)
	for first := 1; first < 20; first += 5 {
		want(t, publish(t, p, ids("a", "k", span(first, first+4)...)), "acked 5")
	}
	r := p.cfg.NewReader("a")
	defer r.Close()
	ask := func(from, to, first, next int64, want ...int64) {
		t.Helper()
		var got []int64
		a, b, err := r.Range(t.Context(), 0, from, to, func(rec Record) error { got = append(got, rec.Offset); return nil })
		if err != nil || a != first || b != next || !slices.Equal(got, want) {
			t.Errorf("%d to %d: %v, which is %d to %d, %v", from, to, got, a, b, err)
		}
	}
	ask(3, 7, 3, 7, 3, 4, 5, 6)
	ask(18, 99, 18, 99, 18, 19)
	ask(20, 99, 20, 99)
	ask(7, 7, 7, 7)
	enough := errors.New("enough")
	if first, next, err := r.Range(t.Context(), 0, 2, 9, func(rec Record) error {
		if rec.Offset == 6 {
			return enough
		}
		return nil
	}); first != 2 || next != 7 || !errors.Is(err, enough) {
		t.Errorf("%d to %d, %v", first, next, err)
	}
	if compacted, err := r.Compacted(t.Context()); compacted || err != nil {
		t.Errorf("compacted %t, %v", compacted, err)
	}

	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "a", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 10}}}}
	res, err := req.RequestWith(t.Context(), client)
	if err != nil || res.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	ask(8, 12, 10, 12, 10, 11)
	ask(3, 7, 10, 10)
}

// What a record carries is what its route makes of the message.
func TestWire(t *testing.T) {
	m := ids("a", "k", 1)[0]
	if got, err := Wire(m); got != m || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	router, err := relay.NewRouter([]relay.Route{{Topic: "*", Destination: "d", CloudEvents: &relay.CloudEvents{Mode: relay.EventStructured, Source: "s", Type: "t"}}})
	if err != nil {
		t.Fatal(err)
	}
	router.Find(m)
	if got, err := Wire(m); err != nil || slices.Equal(got.Payload, m.Payload) || got.Key != m.Key {
		t.Errorf("%+v, %v", got, err)
	}
}
