package spool

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/relay"
)

var rewriteGolden = flag.Bool("spool.golden", false, "write the golden bytes anew: only with a new version of the format")

// golden compares bytes with a file of testdata that people can read, 16 bytes a line.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b strings.Builder
	for rest := got; len(rest) > 0; rest = rest[min(16, len(rest)):] {
		b.WriteString(hex.EncodeToString(rest[:min(16, len(rest))]) + "\n")
	}
	file := "testdata/" + name + ".hex"
	if *rewriteGolden {
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s: the bytes on disk have changed:\n%s\nwant\n%s", name, b.String(), want)
	}
}

var (
	kafkaLane = relay.CacheLane{Destination: "kafka-a", Lane: relay.Lane{Topic: "order.paid", Index: 3}}
	noTopic   = relay.CacheLane{Destination: "rabbit", Lane: relay.Lane{Index: -1}}
	someTime  = time.Date(2025, 3, 1, 12, 30, 15, 123456000, time.UTC)
	uuidA     = uuid{0x3f, 0x2a, 0x8c, 0x1e, 0x5b, 0x7d, 0x4e, 0x9f, 0x8a, 0x6c, 0x1d, 0x2e, 0x3f, 0x4a, 0x5b, 0x6c}
)

const textA, textB = "3f2a8c1e-5b7d-4e9f-8a6c-1d2e3f4a5b6c", "00000000-0000-4000-8000-00000000000b"

func fullMessage() message {
	return message{lane: kafkaLane, generation: uuidA, epoch: 7, Message: relay.Message{ID: 1048813, MessageID: "m-1", Topic: "order.paid", Key: "k\x00\xff", Type: "paid",
		ContentType: "application/json", Traceparent: "00-4bf9", Tracestate: "a=b", Headers: []relay.Header{{Name: "z", Value: "1"}, {Name: "a", Value: ""}},
		CreatedAt: someTime, DeliverAfter: someTime.Add(time.Hour), Payload: []byte("{}\x00"), Size: 3}}
}

// Every kind of payload, and every field that is empty.
var messages = map[string]func(m *message){
	"full":           func(*message) {},
	"tombstone":      func(m *message) { m.Payload, m.Size, m.Tombstone = nil, 0, true },
	"empty":          func(m *message) { m.Payload, m.Size = []byte{}, 0 },
	"to_be_fetched":  func(m *message) { m.Payload, m.Size = nil, 1<<31 },
	"nothing_set":    func(m *message) { *m = message{Message: relay.Message{ID: 1, Payload: []byte{}}} },
	"without_key":    func(m *message) { m.Key, m.Headers, m.lane = "", nil, noTopic },
	"far_away_times": func(m *message) { m.DeliverAfter = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC) },
}

func TestMessageRecords(t *testing.T) {
	for name, change := range messages {
		t.Run(name, func(t *testing.T) {
			m := fullMessage()
			change(&m)
			_, r := appendMessage(nil, &m, 1<<20)
			if name != "nothing_set" && name != "far_away_times" {
				golden(t, "message_"+name, append([]byte{byte(r.Kind), r.Flags}, r.Body...))
			}
			got, err := readMessage(&r)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("came back as\n%+v, was\n%+v", got, m)
			}
			everyBitCounts(t, r, func(r *commitlog.Record) error { _, err := readMessage(r); return err })
		})
	}
}

// everyBitCounts turns each bit of a record, and cuts it everywhere; nothing of that may be read.
func everyBitCounts(t *testing.T, r commitlog.Record, read func(*commitlog.Record) error) {
	t.Helper()
	for at := range r.Body {
		for bit := range 8 {
			r.Body[at] ^= 1 << bit
			if read(&r) == nil {
				t.Fatalf("byte %d bit %d turned: still read", at, bit)
			}
			r.Body[at] ^= 1 << bit
		}
		cut := r
		cut.Body = r.Body[:at]
		if read(&cut) == nil {
			t.Fatalf("cut at byte %d: still read", at)
		}
	}
	for name, change := range map[string]func(*commitlog.Record){"index": func(r *commitlog.Record) { r.Index++ }, "negative index": func(r *commitlog.Record) { r.Index |= 1 << 63 },
		"term": func(r *commitlog.Record) { r.Term++ }, "flags": func(r *commitlog.Record) { r.Flags ^= 1 }, "kind": func(r *commitlog.Record) { r.Kind++ }} {
		other := r
		change(&other)
		if read(&other) == nil {
			t.Errorf("another %s: still read", name)
		}
	}
}

func TestPayloadThatDoesNotFit(t *testing.T) {
	m := fullMessage()
	m.Payload, m.Size = bytes.Repeat([]byte("x"), 5000), 5000
	_, r := appendMessage(nil, &m, 4096)
	got, err := readMessage(&r)
	if err != nil || !got.NeedsFetch() || got.Size != 5000 || len(r.Body) > 4096 {
		t.Errorf("%v, size %d, payload %d, record %d", err, got.Size, len(got.Payload), len(r.Body))
	}
}

func someAck() ack {
	return ack{lane: kafkaLane, generation: uuidA, CachedAck: relay.CachedAck{ID: 1048813, Epoch: 7, At: relay.Position{Offset: 99, HasOffset: true}, AckedAt: someTime}}
}

func TestAckRecords(t *testing.T) {
	for name, change := range map[string]func(*ack){"offset": func(*ack) {}, "without_offset": func(a *ack) { a.At, a.lane = relay.Position{}, noTopic }} {
		a := someAck()
		change(&a)
		r := a.record()
		golden(t, "ack_"+name, append([]byte{byte(r.Kind), r.Flags}, r.Body...))
		got, err := readAck(&r)
		if err != nil || got != a {
			t.Errorf("%+v, %v", got, err)
		}
		everyBitCounts(t, r, func(r *commitlog.Record) error { _, err := readAck(r); return err })
	}
}

func TestForgetRecords(t *testing.T) {
	ids := []relay.ID{5, 6, 300, 1 << 40}
	list := forgetRecords(kafkaLane, ids)
	golden(t, "forget", append([]byte{byte(list[0].Kind), list[0].Flags}, list[0].Body...))
	lane, got, err := readForget(&list[0])
	if err != nil || lane != kafkaLane || !reflect.DeepEqual(got, ids) || len(list) != 1 {
		t.Errorf("%v %v %v", lane, got, err)
	}
	everyBitCounts(t, list[0], func(r *commitlog.Record) error { _, _, err := readForget(r); return err })
	many := make([]relay.ID, 3*maxForget+1)
	for i := range many {
		many[i] = relay.ID(2*i + 1)
	}
	var back []relay.ID
	for _, r := range forgetRecords(kafkaLane, many) {
		_, part, err := readForget(&r)
		if err != nil {
			t.Fatal(err)
		}
		back = append(back, part...)
	}
	if !reflect.DeepEqual(back, many) {
		t.Error("many ids do not come back")
	}
}

func TestIdentityFile(t *testing.T) {
	id := identity{outbox: uuidA, log: uuid{1, 2, 3}, system: 7012345678901234567, epoch: 9, claimed: 1048813}
	b := id.encode()
	golden(t, "identity", b)
	if got, err := decodeIdentity(b); err != nil || got != id {
		t.Errorf("%+v, %v", got, err)
	}
	for at := range b {
		for bit := range 8 {
			b[at] ^= 1 << bit
			if _, err := decodeIdentity(b); err == nil {
				t.Fatalf("byte %d bit %d turned: still read", at, bit)
			}
			b[at] ^= 1 << bit
		}
		if _, err := decodeIdentity(b[:at]); err == nil {
			t.Fatalf("cut at %d: still read", at)
		}
	}
}

// Whatever a record holds, reading it neither panics nor allocates without bound, and what is read is written back as the same bytes.
func FuzzRecord(f *testing.F) {
	m, a := fullMessage(), someAck()
	_, r := appendMessage(nil, &m, 1<<20)
	for _, r := range append(forgetRecords(kafkaLane, []relay.ID{1, 2, 9}), r, a.record()) {
		f.Add(byte(r.Kind), r.Flags, r.Index, r.Term, r.Body)
	}
	f.Fuzz(func(t *testing.T, kind, flags byte, index, term uint64, body []byte) {
		if len(body) < 4 {
			body = make([]byte, 4)
		}
		r := seal(commitlog.Record{Kind: commitlog.Kind(kind), Flags: flags, Index: index, Term: term, Body: bytes.Clone(body)})
		var again commitlog.Record
		if m, err := readMessage(&r); err == nil {
			_, again = appendMessage(nil, &m, 1<<30)
		} else if a, err := readAck(&r); err == nil {
			again = a.record()
		} else if lane, ids, err := readForget(&r); err == nil {
			again = forgetRecords(lane, ids)[0]
		} else {
			return
		}
		if !reflect.DeepEqual(again, r) {
			t.Errorf("%+v is written back as %+v", r, again)
		}
	})
}
