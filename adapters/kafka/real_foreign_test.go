package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/createtopics"
	"github.com/segmentio/kafka-go/protocol/initproducerid"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// wantConfig demands that a code is one that a person has to act on.
func wantConfig(t *testing.T, code int16, want signal) {
	t.Helper()
	r, listed := decide(signal(code), false, false, 0)
	if signal(code) != want || !listed || r.kind != relay.Config || r.do&refused == 0 || r.text == "" {
		t.Errorf("the broker answers %d, want %d, which means %+v", code, want, r)
	}
}

// TestForeignCodes (35, 38): a real server gives them to requests that the relay never makes, with a version from the future and for a topic that it makes; a produce
// request of a version that it has forgotten is no code at all: it ends the connection.
func TestForeignCodes(t *testing.T) {
	c := testservices.Kafka(t)
	p := newPublisher(t, c.Brokers, nil)
	// ask sends a request and returns the beginning of what comes back: size, correlation id, code.
	ask := func(t *testing.T, request ...byte) (head [10]byte, err error) {
		conn, err := p.dialer.plain(within(t, patience), "tcp", c.Brokers[0])
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(append([]byte{0, 0, 0, byte(len(request))}, request...)); err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadFull(conn, head[:])
		return head, err
	}
	t.Run("35", func(t *testing.T) {
		// ApiVersions, a version from the future, correlation id, no client id, no tags.
		head, err := ask(t, 0, 18, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0)
		if err != nil {
			t.Fatal(err)
		}
		wantConfig(t, int16(binary.BigEndian.Uint16(head[8:])), 35)
	})
	t.Run("38", func(t *testing.T) {
		q := &createtopics.Request{Topics: []createtopics.RequestTopic{{Name: topicName(t), NumPartitions: 1, ReplicationFactor: 3}}, TimeoutMs: 10_000, ValidateOnly: true}
		m, err := p.control.ask(within(t, patience), q)
		if err != nil {
			t.Fatal(err)
		}
		wantConfig(t, m.(*createtopics.Response).Topics[0].ErrorCode, 38)
	})
	t.Run("an old produce request", func(t *testing.T) {
		// Produce of version 2, correlation id, no client id, acks=all, one second, no topics.
		if _, err := ask(t, 0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 3, 0xe8, 0, 0, 0, 0); !errors.Is(err, io.EOF) {
			t.Errorf("%v, want the end of the connection", err)
		}
	})
}

// transactionalIDRefused (53): who may not use a transactional id is refused with it, and has its producer id all the same, because the relay asks without one.
func transactionalIDRefused(t *testing.T, c *testservices.Cluster) {
	s := c.Secure()
	const id = "waybill-forbidden"
	admin := &kafka.Client{Addr: kafka.TCP(c.Brokers...), Transport: &kafka.Transport{}}
	defer admin.Transport.(*kafka.Transport).CloseIdleConnections()
	res, err := admin.CreateACLs(within(t, patience), &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{{ResourceType: kafka.ResourceTypeTransactionalID, ResourceName: id,
		ResourcePatternType: kafka.PatternTypeLiteral, Principal: "User:" + s.PlainUser, Host: "*", Operation: kafka.ACLOperationTypeWrite, PermissionType: kafka.ACLPermissionTypeDeny}}})
	if err = errors.Join(append(res.Errors, err)...); err != nil {
		t.Fatal(err)
	}
	topic := topicName(t)
	if err := c.CreateTopic(topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	p := open(t, s.SASL, over(s.Roots, MechanismPlain, &credentials{user: s.PlainUser, password: s.PlainPassword}))
	var code int16
	eventually(t, "the rule holds", func() bool {
		m, err := p.control.ask(context.Background(), &initproducerid.Request{TransactionalID: id, TransactionTimeoutMs: 60_000, ProducerID: -1, ProducerEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		code = m.(*initproducerid.Response).ErrorCode
		return code == 53
	})
	wantConfig(t, code, 53)
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
	wantLevel(t, check(t, p), "kafka.producer_id", "cluster", relay.LevelOK)
}
