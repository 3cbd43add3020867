package app

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/outbox"
	"github.com/waybillmq/waybill/relay"
)

func sharedRig(t *testing.T) *rig {
	t.Helper()
	t.Parallel()
	return newRig(t, testservices.Postgres(t, 18).URL, testservices.Kafka(t))
}

// E17: once the relay has learnt the broker's limit, outbox.publish refuses what the broker would refuse, and takes everything up to the limit.
func TestTooLargeIsRefusedWhenItIsWritten_E17(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("small", 2, map[string]string{"max.message.bytes": "100000"})
	r.start("a")
	limit := 0
	eventually(t, "the limit is known", func() bool {
		n, err := tryAsk[int](r, `SELECT max_bytes FROM outbox.limits WHERE topic = $1`, topic)
		limit = n
		return err == nil
	})
	if limit < 90_000 || limit > 100_000 {
		t.Errorf("the limit of a topic that takes 100000 bytes is %d", limit)
	}
	headers := map[string]string{"h": strings.Repeat("v", 100)}
	m := outbox.Message{Topic: topic, Key: "k", Headers: headers, Type: "t", Payload: make([]byte, limit)}
	if _, err := r.tryPublish(m); !errors.Is(err, outbox.ErrTooLarge) {
		t.Errorf("%d bytes and a key: %v, want ErrTooLarge", limit, err)
	}
	m.Payload = make([]byte, limit-len(m.Key)-len(`{"h": ""}`)-100)
	r.publish(m) // exactly the limit
	m.Payload = append(m.Payload, 0)
	if _, err := r.tryPublish(m); !errors.Is(err, outbox.ErrTooLarge) {
		t.Errorf("one byte above: %v, want ErrTooLarge", err)
	}
	r.drained()
	if res := r.verdict(0); res.Sent != 1 {
		t.Errorf("%+v", res)
	}
}

// L3, L4, L6: what cannot be a message is refused where it is written, with its own code, and takes the business rows back with it.
func TestBadInputIsRefusedWithTheBusinessTransaction_L3_L4_L6(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 1, nil)
	r.start("a")
	r.exec(`CREATE TABLE business (n int)`)
	for _, c := range []struct{ code, call string }{
		{"OB001", `outbox.publish('', '{}'::jsonb)`},
		{"OB001", `outbox.publish(repeat('t', 300), '{}'::jsonb)`},
		{"OB001", `outbox.publish('t', '{}'::jsonb, key => repeat('k', 1025))`},
		{"OB002", `outbox.publish_bytes('t', NULL)`},
		{"OB003", `outbox.publish('t', '{}'::jsonb, headers => '{"a": {"b": "nested"}}')`},
		{"OB003", `outbox.publish('t', '{}'::jsonb, headers => '["a list"]')`},
		{"OB003", `outbox.publish('t', '{}'::jsonb, headers => '{"waybill-id": "forged"}')`},
		{"OB004", `outbox.publish_bytes('t', decode(repeat('00', 1000001), 'hex'))`},
	} {
		err := pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `INSERT INTO business VALUES (1)`); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), "SELECT "+c.call)
			return err
		})
		var said *pgconn.PgError
		if !errors.As(err, &said) || said.Code != c.code {
			t.Errorf("%s: %v, want %s", c.call, err, c.code)
		}
	}
	if n := ask[int](r, `SELECT (SELECT count(*) FROM business) + (SELECT count(*) FROM outbox.message_log)`); n != 0 {
		t.Errorf("%d rows stayed", n)
	}
	r.publish(text(topic, "k"))
	r.drained()
	r.verdict(0)
}

// D3, D5, E17: a message that the broker refuses is dead at once with the broker's reason, and its key waits; others do not. When the broker takes it and a
// person says retry, the key goes on in order.
func TestTooLargeForTheBrokerBlocksItsKeyUntilRetry_D3_D5_E17(t *testing.T) {
	r := sharedRig(t)
	r.config.Relay.WriteLimits = false
	topic := r.topic("small", 2, map[string]string{"max.message.bytes": "100000"})
	r.start("a")
	l := r.write(60, 20, "", topic)
	big := text(topic, "poisoned")
	big.Payload = make([]byte, 150_000)
	r.publish(text(topic, "poisoned"))
	r.publish(big)
	head := relay.ID(r.newestOf(topic, "poisoned"))
	r.publish(text(topic, "poisoned"), text(topic, "poisoned"))
	eventually(t, "it is dead and two are blocked behind it", func() bool {
		ok, err := tryAsk[bool](r, `SELECT (SELECT count(*) FROM outbox.message_held WHERE key = 'poisoned' AND state = 'blocked') = 2
			AND EXISTS (SELECT FROM outbox.message_held WHERE id = $1 AND state = 'dead')`, head)
		return err == nil && ok
	})
	if s := ask[string](r, `SELECT concat_ws(' ', outcome, class, error_code, attempts) FROM outbox.message_held WHERE id = $1`, head); s != "rejected too_large kafka/MESSAGE_TOO_LARGE 1" {
		t.Errorf("dead with %q", s)
	}
	before := r.sentOf(topic, int64(head))
	eventually(t, "others of the topic go on", func() bool { return r.sentOf(topic, int64(head)) > before+50 })
	if n := ask[int](r, `SELECT count(*) FROM outbox.message_held WHERE key <> 'poisoned'`); n != 0 {
		t.Errorf("%d others are held", n)
	}
	if err := r.kafka.AlterTopicConfig(topic, map[string]string{"max.message.bytes": "1000000"}); err != nil {
		t.Fatal(err)
	}
	p := r.people()
	if got, err := p.Act(t.Context(), ActRetry, []relay.ID{head}, "the topic takes it now"); err != nil || got.Changed != 1 {
		t.Fatalf("retry: %+v, %v", got, err)
	}
	r.publish(text(topic, "poisoned"))
	l.stop()
	r.drained()
	if res := r.verdict(0); res.Pending != 0 {
		t.Errorf("%d still wait: %s", res.Pending, r.picture())
	}
}

func (r *rig) newestOf(topic, key string) int64 {
	r.t.Helper()
	return ask[int64](r, `SELECT max(id) FROM outbox.message_log WHERE topic = $1 AND key = $2`, topic, key)
}

func (r *rig) people() *People {
	r.t.Helper()
	p, err := OpenPeople(r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(p.Close)
	return p
}

// P5, D14, F19, L1, L4, L9: what is stored is what was written, byte for byte, whatever it is.
func TestEveryKindOfMessageArrivesAsWritten_P5_D14_F19_L1_L4_L9(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("kinds", 3, nil)
	r.start("a")
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	due := time.Now().Add(3 * time.Second).Truncate(time.Microsecond)
	msgs := []outbox.Message{
		{Topic: topic, Key: "a", Type: "order.placed", ContentType: "application/json", Payload: []byte(`{"n":9007199254740993}`)},
		{Topic: topic, Key: "a", Payload: []byte{}},
		{Topic: topic, Key: "a", Tombstone: true},
		{Topic: topic, Key: "a", Payload: every},
		{Topic: topic, Payload: []byte("no key")},
		{Topic: topic, Key: "ключ\u202e\u200b𝄞", Payload: []byte("a key of many scripts")},
		{Topic: topic, Key: strings.Repeat("k", 1024), Payload: []byte("a long key")},
		{Topic: topic, Key: "b", Headers: map[string]string{"b": "2", "a": "1", "empty": "", "line": "x\r\ny\x01\x02"}, Payload: []byte("headers")},
		{Topic: topic, Key: "b", Headers: map[string]string{"traceparent": trace, "tracestate": "v=1"}, Payload: []byte("a trace")},
		{Topic: topic, Key: "b", MessageID: "own id/1", Payload: []byte("an id of its own")},
		{Topic: topic, Key: "b", Payload: bytes.Repeat([]byte("inline?"), 20_000)},
		{Topic: topic, Key: "b", Payload: append(bytes.Repeat([]byte{0xff}, 900_000), every...)},
		{Topic: topic, Key: "c", DeliverAfter: due, Payload: []byte("later")},
		{Topic: topic, Key: "c", Payload: []byte("now")},
		{Topic: topic, Key: "c", DeliverAfter: time.Now().Add(-time.Hour), Payload: []byte("was due")},
		{Topic: topic, Key: "d", ContentType: "application/json", Payload: []byte(strings.Repeat(`{"a":[`, 10_000) + "1e400" + strings.Repeat("]}", 10_000))},
	}
	ids := r.publish(msgs...)
	r.publish(msgs[9]) // repeated after a lost answer: written once
	if _, err := r.tryPublish(outbox.Message{Topic: topic, Key: "b", MessageID: "own id/1", Payload: []byte("another")}); !errors.Is(err, outbox.ErrMessageIDUsed) {
		t.Errorf("an id used twice: %v", err)
	}
	r.drained()
	records := map[string]kafka.Record{}
	for _, rec := range r.records(t.Context(), topic) {
		id, _ := rec.Header("waybill-id")
		records[id] = rec
	}
	for i := range msgs {
		rec, ok := records[ids[i]]
		if !ok {
			t.Errorf("message %d (%s) is not there", i, ids[i])
			continue
		}
		for _, wrong := range differences(&msgs[i], &rec) {
			t.Errorf("message %d: %s", i, wrong)
		}
	}
	if at := records[ids[12]].At; at.Before(due.Truncate(time.Millisecond)) {
		t.Errorf("due at %v, sent at %v", due, at)
	}
	if res := r.verdict(0); res.Written != len(msgs) || res.Stored != len(msgs) {
		t.Errorf("%+v", res)
	}
}

// differences compares a record with its message by the mapping of messages to Kafka.
func differences(m *outbox.Message, rec *kafka.Record) (wrong []string) {
	if (rec.Key == nil) != (m.Key == "") || string(rec.Key) != m.Key {
		wrong = append(wrong, fmt.Sprintf("key %q, want %q", rec.Key, m.Key))
	}
	if (rec.Value == nil) != m.Tombstone || !bytes.Equal(rec.Value, m.Payload) {
		wrong = append(wrong, fmt.Sprintf("payload of %d bytes (null: %t), want %d", len(rec.Value), rec.Value == nil, len(m.Payload)))
	}
	want := map[string]string{}
	for name, value := range m.Headers {
		want[name] = value
	}
	if m.Type != "" {
		want["waybill-type"] = m.Type
	}
	if want["content-type"] = m.ContentType; m.ContentType == "" {
		want["content-type"] = "application/octet-stream"
	}
	if m.Tombstone {
		delete(want, "content-type")
	}
	for _, h := range rec.Headers {
		switch h.Name {
		case "waybill-id":
			if m.MessageID != "" && string(h.Value) != m.MessageID {
				wrong = append(wrong, fmt.Sprintf("message id %q, want %q", h.Value, m.MessageID))
			}
		case "waybill-seq":
			if n, err := strconv.ParseInt(string(h.Value), 10, 64); err != nil || n < 1 {
				wrong = append(wrong, fmt.Sprintf("waybill-seq %q", h.Value))
			}
		case "waybill-time":
			if at, err := time.Parse(time.RFC3339Nano, string(h.Value)); err != nil || time.Since(at) > time.Hour {
				wrong = append(wrong, fmt.Sprintf("waybill-time %q", h.Value))
			}
		default:
			if v, ok := want[h.Name]; !ok || v != string(h.Value) {
				wrong = append(wrong, fmt.Sprintf("header %s=%q, want %q", h.Name, h.Value, v))
			}
			delete(want, h.Name)
		}
	}
	for name := range want {
		wrong = append(wrong, "no header "+name)
	}
	return wrong
}

// K5: a message that no route takes stays pending and holds nothing up; with a route it is sent.
func TestMessageWithoutRouteHoldsNothingUp_K5(t *testing.T) {
	r := sharedRig(t)
	known, other := r.topic("known", 3, nil), r.topic("other", 3, nil)
	r.config.Routes[0].Match.Topic = r.prefix + "known*"
	r.start("a")
	r.publish(text(other, "k"), text(known, "k"), text(other, "k"), text(other, ""))
	l := r.write(100, 10, "", known)
	eventually(t, "routed messages are sent", func() bool { return r.sentOf(known, 0) > 200 })
	l.stop()
	eventually(t, "only the three without a route wait", func() bool { return r.waiting() == 3 })
	if n := ask[int](r, `SELECT count(*) FROM outbox.message_pending p JOIN outbox.message_log m USING (id) WHERE m.topic = $1`, other); n != 3 {
		t.Errorf("%d of 3 are pending", n)
	}
	r.stopAll()
	r.config.Routes = append(r.config.Routes, r.route("rest", "*", "kafka"))
	r.start("a")
	r.drained()
	r.verdict(0)
}
