package rabbitmq

import (
	"bytes"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/relay"
)

// FuzzMapping: whatever is not refused comes back as it was, through properties and headers as the server hands them on.
func FuzzMapping(f *testing.F) {
	f.Add("id", "key", "type", "text/plain", "name", "value", "00-1-2-03", []byte("payload"), int64(7), int64(1_700_000_000_000_001), false)
	f.Add("", "", "", "", "", "", "", []byte(nil), int64(1), int64(0), true)
	f.Add(strings.Repeat("i", 300), "k", strings.Repeat("t", 256), "c", strings.Repeat("h", 256), strings.Repeat("v", 200_000), "", []byte{0}, int64(-1), int64(-5), false)
	f.Fuzz(func(t *testing.T, id, key, kind, content, name, value, parent string, payload []byte, seq, micros int64, null bool) {
		m := &relay.Message{ID: relay.ID(seq), MessageID: id, Topic: "t", Target: "t", Key: key, Type: kind, ContentType: content, Traceparent: parent,
			CreatedAt: time.UnixMicro(micros % 200_000_000_000_000_000).UTC(), Payload: payload, Size: len(payload)}
		if year := m.CreatedAt.Year(); year < 1 || year > 9999 {
			t.Skip("the database has no such time")
		}
		if name != "" && name != "traceparent" && name != "tracestate" && name != "x-delivery-count" && !strings.HasPrefix(name, "waybill-") {
			m.Headers = []relay.Header{{Name: name, Value: value}}
		}
		if null {
			m.Payload, m.Size, m.Tombstone = nil, 0, true
		}
		p := publishing(m)
		s, text := refusal(m, "r", &p, frameMax, 8<<20)
		long := max(len(id), len(kind), len(content)) > maxShort
		for _, h := range m.Headers {
			long = long || len(h.Name) > maxShort
		}
		sum := len(id)*2 + len(key) + len(kind) + len(content) + len(parent)
		for _, h := range m.Headers {
			sum += len(h.Name) + len(h.Value)
		}
		switch {
		case s == "" && (long || sum > frameMax):
			t.Fatalf("not refused: %d bytes of properties, a long string: %v", sum, long)
		case s != "":
			if !long && sum < frameMax-1000 {
				t.Fatalf("refused: %s", text)
			}
			if id != "" && len(id) > 20 && strings.Contains(text, id) {
				t.Fatal("the reason shows what it is about")
			}
			return
		}
		r := recordOf(&amqp.Delivery{Headers: p.Headers, ContentType: p.ContentType, MessageId: p.MessageId, Timestamp: p.Timestamp, Type: p.Type, Body: p.Body})
		got, err := r.Message("t")
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != m.ID || got.MessageID != id || got.Key != key || got.Type != kind || got.ContentType != content || got.Traceparent != parent ||
			!got.CreatedAt.Equal(m.CreatedAt) || !bytes.Equal(got.Payload, m.Payload) || got.Tombstone != null || len(got.Headers) != len(m.Headers) ||
			len(m.Headers) == 1 && got.Headers[0] != m.Headers[0] {
			t.Fatalf("came back as %+v, was %+v", got, m)
		}
		if p.DeliveryMode != amqp.Persistent {
			t.Fatal("not persistent")
		}
	})
}

func TestRefusedBeforeTheBrokerWould(t *testing.T) {
	long := strings.Repeat("x", maxShort+1)
	for name, change := range map[string]func(*relay.Message){
		"message id":   func(m *relay.Message) { m.MessageID = long },
		"type":         func(m *relay.Message) { m.Type = long },
		"content type": func(m *relay.Message) { m.ContentType = long },
		"header's":     func(m *relay.Message) { m.Headers = []relay.Header{{Name: long}} },
		"frame_max":    func(m *relay.Message) { m.Headers = []relay.Header{{Name: "h", Value: strings.Repeat("v", frameMax)}} },
		"payload":      func(m *relay.Message) { m.Payload = make([]byte, 1001) },
	} {
		m := ids("t", "k", 1)[0]
		change(m)
		p := publishing(m)
		if s, text := refusal(m, "k", &p, frameMax, 1000); rules[s].kind != relay.Rejected || !strings.Contains(text, name) {
			t.Errorf("%s: %q %q", name, s, text)
		}
	}
	m := ids("t", "k", 1)[0]
	p := publishing(m)
	if s, _ := refusal(m, long, &p, frameMax, 1000); s != sigInvalid {
		t.Errorf("a long routing key: %q", s)
	}
	if s, text := refusal(m, "k", &p, frameMax, 1000); s != "" {
		t.Errorf("a plain message: %q %q", s, text)
	}
}
