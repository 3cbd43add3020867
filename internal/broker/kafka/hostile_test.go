package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/broker"
)

// healthy says that others are served.
func (p *port) healthy(t testing.TB) {
	t.Helper()
	r := p.dial(t)
	defer r.Close()
	if got := ask[*kmsg.ApiVersionsResponse](r, &kmsg.ApiVersionsRequest{Version: 0}); len(got.ApiKeys) != len(table) {
		t.Fatalf("%+v", got)
	}
}

// whole puts a length before bytes.
func whole(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }

// Bytes that are no request end their own connection, with a sentence, and nobody else's.
func TestMalformed(t *testing.T) {
	p := start(t, t.TempDir(), func(c *Config) { c.Half = 200 * time.Millisecond })
	create(t, p, "orders", 1)
	header := func(key, version uint16, body ...byte) []byte {
		b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, key), version)
		return append(append(b, 0, 0, 0, 1, 0xff, 0xff), body...)
	}
	topics := []byte{0xff, 0xff, 0, 1, 0, 0, 0, 0} // no transaction, acks, timeout
	many := append(append([]byte(nil), topics...), 0, 0, 0x30, 0)
	for range 0x3000 {
		many = append(many, 0, 0, 0, 0, 0, 0)
	}
	noise := make([]byte, 5_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, c := range []struct {
		what, why string
		bytes     []byte
	}{
		{"2 GiB", "a request of 2147483647 bytes", []byte{0x7f, 0xff, 0xff, 0xff, 0, 0}},
		{"a negative length", "a request of 4294967295 bytes", []byte{0xff, 0xff, 0xff, 0xff, 0, 0}},
		{"nothing", "a request of 0 bytes", []byte{0, 0, 0, 0}},
		{"half a length", "half a request", []byte{0, 0}},
		{"half a header", "half a request", whole(header(3, 1, 0xff, 0xff, 0xff, 0xff))[:9]},
		{"a byte too few", "half a request", whole(header(3, 1, 0xff, 0xff, 0xff, 0xff))[:17]},
		{"a client id that is cut off", "no request", whole([]byte{0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff})},
		{"tags that are cut off", "no request", whole(header(3, 12, 0x85))},
		{"an API that is not", "API key 999", whole(header(999, 0))},
		{"a version that is not", "Metadata in version 13: 0 to 12", whole(header(3, 13, 0))},
		{"a negative version", "Metadata in version -1", whole(header(3, 0xffff, 0))},
		{"an empty request", "Metadata: bytes that are no request", whole(header(3, 1))},
		{"2³¹-1 topics", "Metadata: bytes that are no request", whole(header(3, 1, 0x7f, 0xff, 0xff, 0xff))},
		{"2³¹-1 topics to produce to", "Produce: bytes that are no request", whole(header(0, 3, append(topics, 0x7f, 0xff, 0xff, 0xff)...))},
		{"topics without end", "of more than 11000 topics", whole(header(0, 3, many...))},
		{"a large question", "Metadata of", whole(header(3, 1, make([]byte, structured+1)...))},
		{"noise", "", noise},
	} {
		before := len(p.why())
		r := p.dial(t)
		_, err := r.Write(c.bytes)
		must(t, err)
		r.ended()
		if why := p.why()[before:]; len(why) != 1 || !strings.Contains(why[0].Error(), c.why) {
			t.Errorf("%s: %v", c.what, why)
		}
		p.healthy(t)
	}
}

// A client that is newer than we are learns in the oldest form what is offered (KIP-511).
func TestApiVersions(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	r := p.dial(t)
	future := kmsg.NewPtrApiVersionsRequest()
	future.Version = 99
	_, err := r.Write(frame(future, 7))
	must(t, err)
	future.Version = 0
	got := r.receive(future, 7).(*kmsg.ApiVersionsResponse)
	if got.ErrorCode != codeUnsupportedVersion || len(got.ApiKeys) != len(table) {
		t.Errorf("%+v", got)
	}
	for version := int16(0); version <= 4; version++ {
		got := ask[*kmsg.ApiVersionsResponse](r.at(int32(version)), &kmsg.ApiVersionsRequest{Version: version, ClientSoftwareName: "test", ClientSoftwareVersion: "1"})
		for i, k := range got.ApiKeys {
			if a := table[i]; k.ApiKey != a.key || k.MinVersion != a.min || k.MaxVersion != a.max {
				t.Errorf("version %d: %+v, want %+v", version, k, a)
			}
		}
	}
	// what is told can be asked: each version of each API is one that the types know
	for _, a := range table {
		req := kmsg.RequestForKey(a.key)
		if req == nil || req.MaxVersion() < a.max || a.min > a.max || kmsg.NameForKey(a.key) != a.name && a.name != "InitProducerId" {
			t.Errorf("%+v: %T, %s", a, req, kmsg.NameForKey(a.key))
		}
	}
}

func (r *raw) at(n int32) *raw { r.n = n; return r }

// Answers have the order of their requests, however long each takes.
func TestAnswersAreInOrder(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 1)
	r := p.dial(t)
	var sent []kmsg.Request
	for i := range 40 {
		var req kmsg.Request = produceOf(9, -1, "orders", batch(fmt.Sprint(i)))
		switch i % 4 {
		case 1:
			slow := fetchOf("orders", 0)
			slow.MaxWaitMillis, slow.MinBytes = 20, 1<<30
			req = slow
		case 2:
			req = kmsg.NewPtrMetadataRequest()
		}
		sent = append(sent, req)
		r.send(req)
	}
	offset := int64(0)
	for i, req := range sent {
		resp := r.receive(req, int32(i+1))
		if produced, ok := resp.(*kmsg.ProduceResponse); ok {
			if got := produced.Topics[0].Partitions[0].BaseOffset; got != offset {
				t.Fatalf("offset %d, want %d", got, offset)
			}
			offset++
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	p := start(t, t.TempDir(), func(c *Config) { c.Connections, c.Idle = 3, 500*time.Millisecond })
	var idle []*raw
	for range 3 {
		r := p.dial(t)
		ask[*kmsg.ApiVersionsResponse](r, &kmsg.ApiVersionsRequest{})
		idle = append(idle, r)
	}
	p.dial(t).ended()
	for _, r := range idle {
		r.ended()
	}
	p.healthy(t)
	if why := p.why(); len(why) != 1 || !strings.Contains(why[0].Error(), "3 connections") { // who was idle is no news
		t.Errorf("%v", why)
	}
}

// Who tells a length and sends little takes no memory from those who send.
func TestLengthsTakeNoMemory(t *testing.T) {
	p := start(t, t.TempDir(), func(c *Config) { c.Request, c.Memory, c.Half = 1<<20, 2<<20, 5*time.Second })
	create(t, p, "orders", 1)
	for range 10 {
		r := p.dial(t)
		_, err := r.Write(append([]byte{0, 0x10, 0, 0}, make([]byte, 60)...))
		must(t, err)
	}
	r := p.dial(t)
	if a := ask[*kmsg.ProduceResponse](r, produceOf(9, -1, "orders", batch(string(make([]byte, 1<<19))))).Topics[0].Partitions[0]; a.ErrorCode != 0 {
		t.Errorf("%+v", a)
	}
}

// longPoll is a Fetch at the end of many partitions, which are named again and again.
func longPoll(topic string, partitions, named int) *kmsg.FetchRequest {
	req := fetchOf(topic, 0)
	req.MaxWaitMillis = 30_000
	part := req.Topics[0].Partitions[0]
	for i := 1; i < named; i++ {
		part.Partition = int32(i % partitions)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
	}
	return req
}

// waiting waits until so many topics and partitions are waited for.
func (p *port) waiting(t *testing.T, items int64) {
	t.Helper()
	left := int64(p.server.cfg.Waits) - items + 1
	eventually(t, "the Fetches do not wait", func() bool {
		if p.server.waits.TryAcquire(left) {
			p.server.waits.Release(left)
			return false
		}
		return true
	})
}

// Fetches that wait take neither memory from those who send nor a goroutine for each partition.
func TestLongPollsTakeLittle(t *testing.T) {
	p := start(t, t.TempDir(), func(c *Config) { c.Request, c.Memory, c.Half = 1<<20, 1<<20, 5*time.Second })
	create(t, p, "orders", 2)
	r := p.dial(t)
	r.loaded()
	const each = 10_000
	var polls []*raw
	before := runtime.NumGoroutine()
	poll := longPoll("orders", 2, each)
	for range 5 { // each a third of a megabyte
		c := p.dial(t)
		c.send(poll)
		polls = append(polls, c)
	}
	p.waiting(t, 5*(each+1))
	if n := runtime.NumGoroutine() - before; n > 30 {
		t.Errorf("%d goroutines for 5 connections", n)
	}
	if a := ask[*kmsg.ProduceResponse](r, produceOf(9, -1, "orders", batch(string(make([]byte, 1<<19))))).Topics[0].Partitions[0]; a.ErrorCode != 0 {
		t.Errorf("%+v", a)
	}
	for _, c := range polls {
		if got := c.receive(poll, 1).(*kmsg.FetchResponse).Topics[0].Partitions; len(got) != each || len(got[0].RecordBatches) == 0 {
			t.Errorf("%d partitions", len(got))
		}
	}
}

// Who finds no place among those who wait looks now and then, and comes by what is new all the same.
func TestLongPollsAreBounded(t *testing.T) {
	p := start(t, t.TempDir(), func(c *Config) { c.Waits = 100 })
	create(t, p, "orders", 2)
	first, second, writer := p.dial(t), p.dial(t), p.dial(t)
	large, small := longPoll("orders", 2, 99), longPoll("orders", 2, 1)
	first.send(large)
	p.waiting(t, 100)
	second.send(small)
	ask[*kmsg.ProduceResponse](writer, produceOf(9, -1, "orders", batch("a")))
	for c, req := range map[*raw]*kmsg.FetchRequest{first: large, second: small} {
		if got := c.receive(req, 1).(*kmsg.FetchResponse).Topics[0].Partitions[0]; len(got.RecordBatches) == 0 {
			t.Errorf("%+v", got)
		}
	}
	for i := range large.Topics[0].Partitions {
		large.Topics[0].Partitions[i].Partition = 1
	}
	first.send(large)
	p.waiting(t, 100)
	small.MaxWaitMillis, small.Topics[0].Partitions[0].FetchOffset = 300, 1
	begun := time.Now()
	if got := ask[*kmsg.FetchResponse](second, small).Topics[0].Partitions[0]; got.ErrorCode != 0 || time.Since(begun) < 300*time.Millisecond {
		t.Errorf("after %v: %+v", time.Since(begun), got)
	}
}

// Members that wait for a rebalance, which may take minutes, take no memory from those who send.
func TestJoinsTakeNoMemory(t *testing.T) {
	p := start(t, t.TempDir(), func(c *Config) { c.Request, c.Memory, c.Half = 1<<20, 1<<20, 5*time.Second })
	create(t, p, "orders", 1)
	r := p.dial(t)
	r.loaded()
	for i := range 4 {
		req := kmsg.NewPtrJoinGroupRequest()
		req.Version, req.Group, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis, req.ProtocolType = 3, fmt.Sprint(i), 10_000, 60_000, "consumer"
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, 400<<10)}}
		ask[*kmsg.JoinGroupResponse](p.dial(t), req)
		p.dial(t).send(req) // waits for the first one to join again, which it does not
	}
	for deadline := time.Now().Add(20 * time.Second); ; { // until all of them wait
		all := ask[*kmsg.ListGroupsResponse](r, &kmsg.ListGroupsRequest{Version: 4, StatesFilter: []string{"PreparingRebalance"}})
		if len(all.Groups) == 4 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", all)
		}
	}
	if a := ask[*kmsg.ProduceResponse](r, produceOf(9, -1, "orders", batch(string(make([]byte, 1<<19))))).Topics[0].Partitions[0]; a.ErrorCode != 0 {
		t.Errorf("%+v", a)
	}
}

// A client that asks for much and reads nothing loses its connection; others go on.
func TestSlowReader(t *testing.T) {
	p := start(t, t.TempDir(), func(c *Config) { c.Half = 300 * time.Millisecond })
	create(t, p, "orders", 1)
	writer := p.dial(t)
	for range 8 {
		ask[*kmsg.ProduceResponse](writer, produceOf(9, -1, "orders", batch(string(make([]byte, 1<<19)))))
	}
	_ = writer.Close()
	slow := p.dial(t)
	must(t, slow.Conn.(*net.TCPConn).SetReadBuffer(4096))
	req := fetchOf("orders", 0)
	req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = 8<<20, 8<<20
	for range 10 {
		slow.send(req)
	}
	deadline := time.Now().Add(15 * time.Second)
	for len(p.why()) == 0 && time.Now().Before(deadline) {
		p.healthy(t)
	}
	if why := p.why(); len(why) != 1 || !strings.Contains(why[0].Error(), "was not taken") {
		t.Errorf("%v", why)
	}
}

func TestManyIdleConnections(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	for range 300 {
		p.dial(t)
	}
	p.healthy(t)
	p.stop() // ends all of them
}

// Others than this machine are refused before they could connect, with a word on what is taken.
func TestLoopbackOnly(t *testing.T) {
	for _, address := range []string{"", ":0", "127.0.0.1", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", "[::ffff:192.0.2.1]:0"} {
		l, err := Listen(address)
		if !errors.Is(err, ErrNotLoopback) || !strings.Contains(err.Error(), "127.0.0.1:9092") {
			t.Errorf("%q: %v", address, err)
		}
		if err == nil {
			must(t, l.Close())
		}
	}
	for _, address := range []string{"127.0.0.1:0", "localhost:0", "127.0.0.2:0"} {
		l, err := Listen(address)
		must(t, err)
		if _, err := Listen(l.Address()); err == nil || !strings.Contains(err.Error(), "Choose another address") {
			t.Errorf("twice on %s: %v", l.Address(), err)
		}
		must(t, l.Close())
	}
}

// A listener that somebody else has closed is an error with a word on what to do.
func TestListenerIsClosed(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	s, err := New(Config{Log: nothing{}, Advertise: l.Address()})
	must(t, err)
	if err := s.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "start the broker again") {
		t.Errorf("%v", err)
	}
}

func TestConfig(t *testing.T) {
	for _, address := range []string{"", "host", ":9092", "0.0.0.0:9092", "[::]:9092", "host:0", "host:70000", "host:name"} {
		if _, err := New(Config{Log: &broker.Node{}, Advertise: address}); err == nil {
			t.Errorf("%q passes", address)
		}
	}
	if _, err := New(Config{Log: &broker.Node{}, Advertise: "host:1", Memory: 1 << 20}); err == nil {
		t.Error("less memory than a request passes")
	}
}

// Errors of the node become codes; that nothing was stored counts more than why.
func TestCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int16
	}{
		{nil, 0},
		{fmt.Errorf("%w: %w", broker.ErrNotLeader, broker.ErrStopped), codeNotEnoughReplicas},
		{fmt.Errorf("%w: %w", broker.ErrNotLeader, context.DeadlineExceeded), codeNotEnoughReplicas},
		{fmt.Errorf("later: %w", broker.ErrStopped), codeNotEnoughAfterAppend},
		{broker.ErrFlushTimeout, codeRequestTimedOut},
		{context.DeadlineExceeded, codeRequestTimedOut},
		{errors.New("new"), codeUnknownServerError},
	} {
		if got := codeOf(c.err); got != c.code {
			t.Errorf("%v: %d, want %d", c.err, got, c.code)
		}
	}
}
