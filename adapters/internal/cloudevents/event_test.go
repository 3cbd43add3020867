package cloudevents

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// routed is a message behind a route that wants events.
func routed(t *testing.T, c *relay.CloudEvents, change func(*relay.Message)) *relay.Message {
	t.Helper()
	router, err := relay.NewRouter([]relay.Route{{Name: "r", Target: "payments", CloudEvents: c}})
	if err != nil {
		t.Fatal(err)
	}
	m := &relay.Message{ID: 7, MessageID: "gen-7", Topic: "payment", Key: "order <1>", Type: "captured", ContentType: "application/json",
		Headers: []relay.Header{{Name: "h", Value: "v"}}, Payload: []byte(`{"a": 1e2}`), Size: 10, Traceparent: "00-1-2-01",
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600))}
	if change != nil {
		change(m)
	}
	router.Find(m)
	return m
}

func headers(m *relay.Message) string {
	var b strings.Builder
	for _, h := range m.Headers {
		b.WriteString(h.Name + "=" + h.Value + "\n")
	}
	return b.String()
}

func TestBinary(t *testing.T) {
	m := routed(t, &relay.CloudEvents{Source: "/shop/{topic}"}, nil)
	got, err := Message(m, "ce_")
	if err != nil {
		t.Fatal(err)
	}
	want := "h=v\nce_specversion=1.0\nce_id=gen-7\nce_source=/shop/payment\nce_type=captured\nce_time=2026-01-02T02:04:05.000006Z\nce_subject=order <1>\nce_partitionkey=order <1>\n"
	if headers(got) != want {
		t.Errorf("got\n%swant\n%s", headers(got), want)
	}
	if string(got.Payload) != string(m.Payload) || got.ContentType != m.ContentType || got.Traceparent != m.Traceparent || got.Event != nil {
		t.Errorf("more than the headers changed: %+v", got)
	}
	if headers(m) != "h=v\n" || m.Event == nil {
		t.Errorf("the message itself changed: %+v", m)
	}
	other := routed(t, &relay.CloudEvents{Source: "/s", Prefix: "CE-"}, func(m *relay.Message) { m.Key = "" })
	if got, err := Message(other, "ce_"); err != nil || !strings.Contains(headers(got), "CE-id=gen-7\n") || strings.Contains(headers(got), "subject") {
		t.Errorf("%v, own prefix and no key:\n%s", err, headers(got))
	}
}

func TestStructured(t *testing.T) {
	const head = `{"specversion":"1.0","id":"gen-7","source":"/s","type":"captured","time":"2026-01-02T02:04:05.000006Z","subject":"order \u003c1\u003e","partitionkey":"order \u003c1\u003e"`
	for name, c := range map[string]struct {
		change func(*relay.Message)
		want   string
	}{
		"JSON stays byte for byte": {nil, `,"datacontenttype":"application/json","data":{"a": 1e2}}`},
		"a JSON family":            {func(m *relay.Message) { m.ContentType = "application/x+json; charset=utf-8" }, `,"datacontenttype":"application/x+json; charset=utf-8","data":{"a": 1e2}}`},
		"no content type":          {func(m *relay.Message) { m.ContentType = "" }, `,"data":{"a": 1e2}}`},
		"said to be JSON":          {func(m *relay.Message) { m.Payload = []byte("{") }, `,"datacontenttype":"application/json","data_base64":"ew=="}`},
		"bytes":                    {func(m *relay.Message) { m.ContentType, m.Payload = "image/png", []byte{0, 255} }, `,"datacontenttype":"image/png","data_base64":"AP8="}`},
		"empty":                    {func(m *relay.Message) { m.ContentType, m.Payload = "", nil }, `,"data_base64":""}`},
	} {
		m := routed(t, &relay.CloudEvents{Mode: relay.EventStructured, Source: "/s"}, c.change)
		got, err := Message(m, "ce_")
		if err != nil {
			t.Fatal(name, err)
		}
		if string(got.Payload) != head+c.want || !json.Valid(got.Payload) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got.Payload, head+c.want)
		}
		if got.ContentType != "application/cloudevents+json" || got.Size != len(got.Payload) || headers(got) != "h=v\n" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTombstoneStaysOne(t *testing.T) {
	m := routed(t, &relay.CloudEvents{Mode: relay.EventStructured, Source: "/s"}, func(m *relay.Message) { m.Payload, m.Size, m.Tombstone = nil, 0, true })
	got, err := Message(m, "ce_")
	if err != nil || !got.Tombstone || got.Payload != nil || !strings.Contains(headers(got), "ce_id=gen-7\n") {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestNoEvent(t *testing.T) {
	m := &relay.Message{Topic: "t"}
	if got, err := Message(m, "ce_"); got != m || err != nil {
		t.Errorf("a message without an event was copied: %v", err)
	}
	for name, c := range map[string]struct {
		c      relay.CloudEvents
		change func(*relay.Message)
	}{
		"a header like an attribute": {relay.CloudEvents{Source: "/s"}, func(m *relay.Message) { m.Headers[0].Name = "ce_x" }},
		"no source":                  {relay.CloudEvents{Source: "{header.none}"}, nil},
	} {
		if got, err := Message(routed(t, &c.c, c.change), "ce_"); err == nil {
			t.Errorf("%s: no error: %+v", name, got)
		}
	}
}
