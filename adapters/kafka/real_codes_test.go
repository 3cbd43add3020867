package kafka

import (
	"context"
	"testing"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/produce"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// asIt makes the one produce request of a batch, changed, on a connection of its own, and returns what the lane would conclude.
func asIt(t *testing.T, p *Publisher, at relay.Lane, batch []*relay.Message, change func(*produceRequest, *protocol.Conn)) relay.Outcome {
	t.Helper()
	raw, err := p.dialer.plain(within(t, patience), "tcp", p.cfg.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	conn := protocol.NewConn(raw, "waybill")
	defer conn.Close()
	if err := agree(conn); err != nil {
		t.Fatal(err)
	}
	buf := encodeAll(batch)
	if pack := p.cfg.Compression.packer(); pack != nil {
		l := &lane{p: p}
		l.topic = &topic{}
		l.topic.limit.Store(defaultLimit)
		l.session = anonymous()
		l.encode(&call{batch: batch, out: make([]relay.Outcome, len(batch)), most: len(batch)})
		buf = l.open.buf
	}
	f := &flight{lane: &lane{p: p, at: at}, buf: buf, done: make(chan struct{})}
	q := request(1, 10_000, []*flight{f})
	change(q, conn)
	m, err := conn.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	resolve([]*flight{f}, m.(*produce.Response))
	r, listed := decide(f.answer.sig, false, false, 0)
	if !listed || r.do&refused == 0 {
		t.Errorf("code %d is no row of a refusal", f.answer.sig)
	}
	return r.outcome(f.answer.sig, at.Topic, f.answer.detail)
}

// TestRefusalsOfARealServer (17, 21, 76): requests that this adapter does not send, for the codes that a server answers to them and how they are understood.
func TestRefusalsOfARealServer(t *testing.T) {
	c := testservices.Kafka(t)
	topic := topicName(t)
	if err := c.CreateTopic(topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, c.Brokers, func(cfg *Config) { cfg.Compression = CompressionZstd })
	for code, way := range map[string]struct {
		topic  string
		scope  relay.Scope
		change func(*produceRequest, *protocol.Conn)
	}{
		"kafka/INVALID_REQUIRED_ACKS": {topic, relay.ScopeDestination, func(q *produceRequest, _ *protocol.Conn) { q.Acks = 7 }},
		"kafka/UNSUPPORTED_COMPRESSION_TYPE": {topic, relay.ScopeDestination, func(_ *produceRequest, c *protocol.Conn) {
			c.SetVersions(map[protocol.ApiKey]int16{protocol.Produce: 6})
		}},
	} {
		t.Run(code, func(t *testing.T) {
			o := asIt(t, p, relay.Lane{Topic: way.topic}, alike(topic, 1000, 1, 2), way.change)
			if o.Kind != relay.Config || o.Scope != way.scope || o.Code != code {
				t.Errorf("%+v", o)
			}
		})
	}
	wantStored(t, c.Brokers, topic)

	// 17 comes with the metadata already.
	q := &metadata.Request{TopicNames: []string{"no topic can have this name"}}
	m, err := p.control.ask(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	if code := m.(*metadata.Response).Topics[0].ErrorCode; code != 17 {
		t.Errorf("the broker answers %d to an illegal name", code)
	}
}
