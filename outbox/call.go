package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// call is one call of an SQL function: its text depends on the schema only, so that drivers can keep it prepared.
type call struct {
	schema string
	sql    string
	args   []any
	batch  bool // the answer is a JSON array of message ids, else one message id
}

const (
	oneSQL   = `SELECT %s.publish_bytes($1::text, $2::bytea, $3::text, $4::text, $5::text::jsonb, $6::timestamptz, $7::text, $8::text, $9::boolean)`
	batchSQL = `SELECT json_agg(b.id ORDER BY b.n)::text FROM %s.publish_batch($1::text[], $2::bytea[], $3::text[], $4::text[], $5::text[]::jsonb[],
  $6::timestamptz[], $7::text[], $8::text[], $9::boolean, $10::boolean[]) WITH ORDINALITY AS b(id, n)`
)

// newCall returns nil for no messages.
func newCall(ctx context.Context, msgs []Message, arrays arrays) (*call, error) {
	if len(msgs) == 0 {
		return nil, nil
	}
	schema, err := schemaOf(ctx)
	if err != nil {
		return nil, err
	}
	if len(msgs) == 1 && !msgs[0].Tombstone {
		return newOne(ctx, schema, &msgs[0])
	}
	return newBatch(ctx, schema, msgs, arrays)
}

func newOne(ctx context.Context, schema string, m *Message) (*call, error) {
	headers, err := headersJSON(ctx, m)
	if err != nil {
		return nil, err
	}
	contentType := m.ContentType
	if contentType == "" {
		contentType = "application/octet-stream"
	}
	var payload any // an untyped nil is NULL for every driver
	if m.Payload != nil {
		payload = m.Payload
	}
	return &call{schema: schema, sql: fmt.Sprintf(oneSQL, schema), args: []any{m.Topic, payload, optional(m.Key), optional(m.Type), headers,
		optionalTime(m.DeliverAfter), optional(m.MessageID), contentType, !m.Unordered}}, nil
}

func newBatch(ctx context.Context, schema string, msgs []Message, arrays arrays) (*call, error) {
	n := len(msgs)
	topics, payloads, tombstones := make([]*string, n), make([][]byte, n), make([]bool, n)
	keys, types, headers, ids, contentTypes := make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n)
	due := make([]*time.Time, n)
	ordered := false
	for i := range msgs {
		m := &msgs[i]
		h, err := headersJSON(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
		topics[i], payloads[i], tombstones[i] = &m.Topic, m.Payload, m.Tombstone
		keys[i], types[i], headers[i], ids[i], contentTypes[i] = optional(m.Key), optional(m.Type), h, optional(m.MessageID), optional(m.ContentType)
		due[i] = optionalTime(m.DeliverAfter)
		ordered = ordered || !m.Unordered
	}
	return &call{schema: schema, sql: fmt.Sprintf(batchSQL, schema), batch: true, args: []any{arrays.texts(topics), arrays.bytes(payloads), arrays.texts(keys),
		arrays.texts(types), arrays.texts(headers), arrays.times(due), arrays.texts(ids), arrays.texts(contentTypes), ordered, arrays.bools(tombstones)}}, nil
}

// ids reads the answer.
func (c *call) ids(row Row) ([]string, error) {
	var answer string
	if err := row.Scan(&answer); err != nil {
		return nil, explain(err, c.schema)
	}
	if !c.batch {
		return []string{answer}, nil
	}
	var ids []string
	if err := json.Unmarshal([]byte(answer), &ids); err != nil {
		return nil, fmt.Errorf("outbox: the answer of publish_batch is not a list of message ids: %w", err)
	}
	return ids, nil
}

// headersJSON returns the headers with the trace context of ctx, which an explicit header of the message overrides; nil for none.
func headersJSON(ctx context.Context, m *Message) (*string, error) {
	headers := m.Headers
	if trace := traceOf(ctx); trace.parent != "" && headers["traceparent"] == "" {
		headers = maps.Clone(headers)
		if headers == nil {
			headers = make(map[string]string, 2)
		}
		headers["traceparent"] = trace.parent
		delete(headers, "tracestate")
		if trace.state != "" {
			headers["tracestate"] = trace.state
		}
	}
	if len(headers) == 0 {
		return nil, nil
	}
	text, err := json.Marshal(headers)
	if err != nil {
		return nil, fmt.Errorf("outbox: headers: %w", err)
	}
	return new(string(text)), nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
