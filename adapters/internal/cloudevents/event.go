// Package cloudevents writes messages as CloudEvents 1.0, for every adapter: what it makes is again a message, which the adapter's own mapping then carries.
package cloudevents

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"github.com/waybillmq/waybill/relay"
)

// Names of attributes (CloudEvents 1.0.2, "Context Attributes"; partitionkey is the extension of that name).
const (
	specVersion  = "specversion"
	id           = "id"
	source       = "source"
	typ          = "type"
	subject      = "subject"
	stamp        = "time"
	partitionKey = "partitionkey"

	version        = "1.0"
	structuredType = "application/cloudevents+json"
)

// timeForm has the microseconds of the database, so that every copy has the same text.
const timeForm = "2006-01-02T15:04:05.000000Z"

// Message returns m as its route wants it to look: m itself when it is no event, else a plain copy. In binary mode the copy has the attributes as headers,
// whose names begin with the route's prefix or, when that is empty, with the broker's. In structured mode attributes and payload are one JSON document (CloudEvents
// JSON Event Format 1.0.2), where a payload that is no JSON is base64. A tombstone has no document to lie in and always takes the headers. The copy shares
// memory with m. An error says what about this message makes no event: it can never pass.
func Message(m *relay.Message, prefix string) (*relay.Message, error) {
	e := m.Event
	if e == nil {
		return m, nil
	}
	attributes := []relay.Header{
		{Name: specVersion, Value: version}, {Name: id, Value: m.MessageID}, {Name: source, Value: e.Source(m)}, {Name: typ, Value: e.Type(m)},
		{Name: stamp, Value: m.CreatedAt.UTC().Format(timeForm)},
	}
	if attributes[2].Value == "" {
		return nil, fmt.Errorf("the source of the CloudEvent is empty: the route makes it of fields that this message does not have")
	}
	if m.Key != "" {
		attributes = append(attributes, relay.Header{Name: subject, Value: m.Key}, relay.Header{Name: partitionKey, Value: m.Key})
	}
	plain := *m
	plain.Event = nil
	if e.Mode == relay.EventStructured && !m.Tombstone {
		plain.Payload = document(attributes, m)
		plain.Size, plain.ContentType = len(plain.Payload), structuredType
		return &plain, nil
	}
	if e.Prefix != "" {
		prefix = e.Prefix
	}
	plain.Headers = make([]relay.Header, 0, len(m.Headers)+len(attributes))
	for _, h := range m.Headers {
		if strings.HasPrefix(h.Name, prefix) {
			return nil, fmt.Errorf("the header %q begins like an attribute of a CloudEvent (%s…), which the route writes itself", h.Name, prefix)
		}
		plain.Headers = append(plain.Headers, h)
	}
	for _, a := range attributes {
		plain.Headers = append(plain.Headers, relay.Header{Name: prefix + a.Name, Value: a.Value})
	}
	return &plain, nil
}

// document is the event as JSON. A payload that is JSON stands in it byte for byte.
func document(attributes []relay.Header, m *relay.Message) []byte {
	var b bytes.Buffer
	text := func(name, value string) {
		b.WriteByte(',')
		for i, s := range [...]string{name, value} {
			if i == 1 {
				b.WriteByte(':')
			}
			quoted, _ := json.Marshal(s) // of a string: no error
			b.Write(quoted)
		}
	}
	for _, a := range attributes {
		text(a.Name, a.Value)
	}
	if m.ContentType != "" {
		text("datacontenttype", m.ContentType)
	}
	if isJSON(m.ContentType) && json.Valid(m.Payload) {
		b.WriteString(`,"data":`)
		b.Write(m.Payload)
	} else {
		text("data_base64", base64.StdEncoding.EncodeToString(m.Payload))
	}
	b.WriteByte('}')
	out := b.Bytes()
	out[0] = '{' // instead of the first comma
	return out
}

// isJSON says whether a content type means JSON. None means it too: so does the absent attribute datacontenttype.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || t == "text/json" || strings.HasSuffix(t, "+json"))
}
