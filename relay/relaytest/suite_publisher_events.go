package relaytest

import (
	"fmt"
	"maps"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// eventCases are for publishers that write CloudEvents.
var eventCases = map[string]func(*publisherCase){
	"a route's CloudEvents, binary and structured": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		var batch []*relay.Message
		for i, mode := range []relay.EventMode{relay.EventBinary, relay.EventStructured, relay.EventBinary, relay.EventBinary} {
			m := c.message(topic, "k", `{"paid":1}`)
			m.Type, m.ContentType, m.Headers = "paid", "application/json", []relay.Header{{Name: "h", Value: "v"}}
			m.CreatedAt = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
			if i == 2 { // what its route writes, it brings along
				m.Headers[0].Name = c.traits.EventPrefix + "id"
			}
			c.route(m, &relay.CloudEvents{Mode: mode, Source: "/shop"})
			batch = append(batch, m)
		}
		outcomes := c.publish(p, batch)
		want, records, last, keyed := "acked 2 rejected 1 unavailable 1", 2, relay.ScopeKey, `"subject":"k","partitionkey":"k",`
		if c.traits.Keyless {
			want, records, last, keyed = "acked 3 rejected 1", 3, 0, ""
		}
		if got := kinds(outcomes); got != want || outcomes[2].Kind != relay.Rejected || outcomes[2].Detail == "" || outcomes[3].Scope != last {
			c.t.Fatalf("%s: %+v", got, outcomes)
		}
		stored := c.target.Stored(topic)
		if len(stored) != records {
			c.t.Fatalf("%d records are stored, want %d", len(stored), records)
		}
		id, prefix := batch[0].MessageID, c.traits.EventPrefix
		attributes := map[string]string{"h": "v", prefix + "specversion": "1.0", prefix + "id": id, prefix + "source": "/shop", prefix + "type": "paid",
			prefix + "time": "2026-01-02T03:04:05.000006Z"}
		if !c.traits.Keyless {
			attributes[prefix+"subject"], attributes[prefix+"partitionkey"] = "k", "k"
		}
		got := map[string]string{}
		for _, h := range stored[0].Message.Headers {
			got[h.Name] = h.Value
		}
		if m := stored[0].Message; !maps.Equal(got, attributes) || m.ContentType != "application/json" || string(m.Payload) != `{"paid":1}` || m.MessageID != id {
			c.t.Errorf("binary: %q as %s with headers\n%q\nwant\n%q", m.Payload, m.ContentType, got, attributes)
		}
		document := fmt.Sprintf(`{"specversion":"1.0","id":"%s","source":"/shop","type":"paid","time":"2026-01-02T03:04:05.000006Z",%s`+
			`"datacontenttype":"application/json","data":{"paid":1}}`, batch[1].MessageID, keyed)
		if m := stored[1].Message; string(m.Payload) != document || m.ContentType != "application/cloudevents+json" || len(m.Headers) != 1 || m.MessageID != batch[1].MessageID {
			c.t.Errorf("structured: %s as %s with headers %q\nwant %s", m.Payload, m.ContentType, m.Headers, document)
		}
	},
}
