package outboxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/waybillmq/waybill/outbox"
)

// publishedSQL lists what the open transaction wrote, savepoints included: rows that are visible although the transaction that wrote them is still in
// progress can only be its own. xmin has 32 bits, the rest comes from the own transaction id.
const publishedSQL = `SELECT coalesce(json_agg(json_build_object(
    'Topic', m.topic, 'Key', m.key, 'Type', m.type, 'ContentType', m.content_type, 'MessageID', m.message_id, 'DeliverAfter', m.deliver_after,
    'Traceparent', m.traceparent, 'Tracestate', m.tracestate, 'Headers', m.headers, 'Payload', encode(m.payload, 'base64'), 'Tombstone', m.payload IS NULL)
    ORDER BY m.id)::text, '[]')
  FROM %s.message_log m
  WHERE m.created_at >= now() AND pg_xact_status((((pg_current_xact_id()::text::bigint >> 32) << 32) | m.xmin::text::bigint)::text::xid8) = 'in progress'`

type inSchema struct {
	testing.TB
	schema string
}

// WithSchema makes the functions of this package look into the outbox in that schema instead of "outbox":
//
//	outboxtest.AssertNone(outboxtest.WithSchema(t, "orders"), tx)
func WithSchema(tb testing.TB, schema string) testing.TB { return inSchema{TB: tb, schema: schema} }

// Published returns the messages that the open transaction tx has published so far, in their order. Trace context stands in Headers; Unordered is not known.
func Published[R outbox.Row](tb testing.TB, tx outbox.Tx[R]) []outbox.Message {
	tb.Helper()
	return published(tb, func(ctx context.Context, sql string) outbox.Row { return tx.QueryRow(ctx, sql) })
}

// PublishedSQL is Published for database/sql.
func PublishedSQL(tb testing.TB, tx outbox.SQLTx) []outbox.Message {
	tb.Helper()
	return published(tb, func(ctx context.Context, sql string) outbox.Row { return tx.QueryRowContext(ctx, sql) })
}

func published(tb testing.TB, query func(context.Context, string) outbox.Row) []outbox.Message {
	tb.Helper()
	schema := "outbox"
	if named, ok := tb.(inSchema); ok {
		schema = named.schema
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var answer string
	if err := query(ctx, fmt.Sprintf(publishedSQL, schema)).Scan(&answer); err != nil {
		tb.Fatalf("outboxtest: what was published cannot be read (the test's login needs to be a superuser or a member of %s_owner): %v", schema, err)
	}
	msgs, err := decode(answer)
	if err != nil {
		tb.Fatalf("outboxtest: %v", err)
	}
	return msgs
}

// row is a message as the database writes it in JSON: what is null there is empty in a Message.
type row struct {
	Topic                             string
	Key, Type, ContentType, MessageID *string
	Traceparent, Tracestate           *string
	DeliverAfter                      *time.Time
	Headers                           map[string]string
	Payload                           *bytesInLines
	Tombstone                         bool
}

func decode(answer string) ([]outbox.Message, error) {
	var rows []row
	if err := json.Unmarshal([]byte(answer), &rows); err != nil {
		return nil, fmt.Errorf("decode the messages: %w", err)
	}
	msgs := make([]outbox.Message, 0, len(rows))
	for _, r := range rows {
		m := outbox.Message{Topic: r.Topic, Key: value(r.Key), Type: value(r.Type), ContentType: value(r.ContentType), MessageID: value(r.MessageID),
			DeliverAfter: value(r.DeliverAfter), Headers: r.Headers, Tombstone: r.Tombstone}
		if r.Payload != nil {
			m.Payload = *r.Payload
		}
		for name, v := range map[string]*string{"traceparent": r.Traceparent, "tracestate": r.Tracestate} {
			if v != nil {
				if m.Headers == nil {
					m.Headers = map[string]string{}
				}
				m.Headers[name] = *v
			}
		}
		msgs = append(msgs, m)
	}
	return msgs, nil
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// bytesInLines is base64 as PostgreSQL writes it, with line ends.
type bytesInLines []byte

func (b *bytesInLines) UnmarshalJSON(text []byte) error {
	plain := []byte{}
	if err := json.Unmarshal(bytes.ReplaceAll(text, []byte(`\n`), nil), &plain); err != nil {
		return err
	}
	*b = plain
	return nil
}
