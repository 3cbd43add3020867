package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/relay"
)

// Auditor reads what was written and what receipts say, for a comparison with brokers, over a connection of its own: short statements along primary keys, no
// transaction between them, nothing locked. It reads payloads, so it asks with what role outbox_relay may. Safe for concurrent use.
type Auditor struct {
	pool   *pgxpool.Pool
	sql    func(string) string
	schema string
}

const (
	auditorConnections = 2 // one for the comparison that runs, one for people who ask about others
	auditReceipts      = 2000
	auditLooked        = 10_000 // rows of the activity log, the newest, in which audits and skips are looked for
)

// OpenAuditor makes the connections when they are first needed. Of cfg it uses URL, Schema and ConnectTimeout. The login needs what role outbox_relay may; a login that is a
// member without inheriting takes the role.
func OpenAuditor(cfg Config) (*Auditor, error) {
	p, err := peoplePool(cfg, "auditor", "relay", auditorConnections, map[string]string{"statement_timeout": "5000", "lock_timeout": "2000",
		"idle_in_transaction_session_timeout": "5000", "plan_cache_mode": "force_custom_plan", "synchronous_commit": "on"})
	if err != nil {
		return nil, err
	}
	return &Auditor{pool: p.pool, sql: p.sql, schema: p.schema}, nil
}

// Close ends the connections after running questions have ended.
func (a *Auditor) Close() { a.pool.Close() }

func (a *Auditor) failed(err error) error { return personError("audit", a.schema, "relay", err) }

// Bounds returns the lowest id that is there and the highest one that is older than age; 0 = none.
func (a *Auditor) Bounds(ctx context.Context, age time.Duration) (lo, hi relay.ID, err error) {
	err = a.pool.QueryRow(ctx, a.sql(`SELECT coalesce(min(m.id), 0), coalesce(max(m.id), 0) FROM outbox.message_log m`)).Scan((*int64)(&lo), (*int64)(&hi))
	if err == nil {
		hi, err = idBefore(ctx, a.pool, a.sql, age, hi)
	}
	return lo, hi, a.failed(err)
}

// Generations returns which uuid the outbox had from which id on, for the ids of messages.
func (a *Auditor) Generations(ctx context.Context) ([]relay.Generation, error) {
	rows, err := a.pool.Query(ctx, a.sql(sqlGenerations))
	if err != nil {
		return nil, a.failed(err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (g relay.Generation, err error) {
		return g, r.Scan((*int64)(&g.From), &g.UUID)
	})
	return all, a.failed(err)
}

// AuditRow is a row of the log with what became of it.
type AuditRow struct {
	relay.Message
	Waits     bool // pending or held
	Discarded bool
	Tried     bool // at least one try failed
}

const sqlAuditRows = `SELECT m.id, m.created_at, m.deliver_after, m.topic, coalesce(m.key, ''), coalesce(m.type, ''), coalesce(m.content_type, ''), m.message_id,
  coalesce(m.traceparent, ''), coalesce(m.tracestate, ''), m.headers, m.payload, p.id IS NOT NULL OR h.id IS NOT NULL, x.id IS NOT NULL,
  EXISTS (SELECT FROM outbox.attempt t WHERE t.id = m.id)
FROM (SELECT * FROM outbox.message_log l WHERE l.id > $1 AND l.id <= $2 ORDER BY l.id LIMIT $3) m
  LEFT JOIN outbox.message_pending p ON p.id = m.id LEFT JOIN outbox.message_held h ON h.id = m.id LEFT JOIN outbox.message_discarded x ON x.id = m.id ORDER BY m.id`

// Rows gives f at most most rows of the log above after, up to upTo, in the order of ids, and returns where the next ones begin; upTo = these were the last. The row and its bytes
// are f's to keep. Receipts must be read after all rows: what is neither waiting nor discarded here has its receipt by then.
func (a *Auditor) Rows(ctx context.Context, g []relay.Generation, after, upTo relay.ID, most int, f func(*AuditRow)) (last relay.ID, err error) {
	rows, err := a.pool.Query(ctx, a.sql(sqlAuditRows), after, upTo, most)
	if err != nil {
		return after, a.failed(err)
	}
	defer rows.Close()
	own := newDecoder(g)
	n := 0
	for ; rows.Next(); n++ {
		var r AuditRow
		var messageID *string
		var head []byte
		if err := rows.Scan((*int64)(&r.ID), &r.CreatedAt, opt(&r.DeliverAfter), &r.Topic, &r.Key, &r.Type, &r.ContentType, &messageID, &r.Traceparent, &r.Tracestate, &head, &r.Payload,
			&r.Waits, &r.Discarded, &r.Tried); err != nil {
			return after, a.failed(err)
		}
		if r.MessageID = own.ownID(r.ID); messageID != nil {
			r.MessageID = *messageID
		}
		if head != nil {
			r.Headers = headers(head)
		}
		r.Tombstone, r.Size = r.Payload == nil, len(r.Payload)
		last = r.ID
		f(&r)
	}
	if err := rows.Err(); err != nil {
		return after, a.failed(err)
	}
	if n < most {
		last = upTo
	}
	return last, nil
}

// AuditReceipt says where messages of one lane batch were confirmed. A negative offset: the broker did not tell it.
type AuditReceipt struct {
	Destination, Lane string
	Offset            int64 // of the first id; the others follow
	IDs               []relay.ID
}

// auditPlace is where a page of receipts ended.
type auditPlace struct{ hi, epoch, seq int64 }

const sqlAuditReceipts = `SELECT r.hi, r.epoch, r.seq, r.lo, r.n, r.ids, r.destination, r.lane, coalesce(r.first_offset, -1) FROM outbox.receipts r
WHERE r.hi >= $1 AND r.hi < $2 AND r.lo <= $3 AND (r.hi, r.epoch, r.seq) > ($4, $5, $6) ORDER BY r.hi, r.epoch, r.seq LIMIT $7`

// Receipts gives f every receipt that names an id of from to upTo, with other ids that it names. pace is called between two statements.
func (a *Auditor) Receipts(ctx context.Context, from, upTo relay.ID, f func(AuditReceipt), pace func()) error {
	at := auditPlace{}
	for {
		rows, err := a.pool.Query(ctx, a.sql(sqlAuditReceipts), from, upTo+relay.MaxReceiptSpan, upTo, at.hi, at.epoch, at.seq, auditReceipts)
		if err != nil {
			return a.failed(err)
		}
		var r AuditReceipt
		var lo int64
		var raw []byte
		var n, count int
		_, err = pgx.ForEachRow(rows, []any{&at.hi, &at.epoch, &at.seq, &lo, &n, &raw, &r.Destination, &r.Lane, &r.Offset}, func() (err error) {
			count++
			if r.IDs, err = DecodeIDs(relay.ID(lo), n, raw); err == nil {
				f(r)
			}
			return err
		})
		if err != nil || count < auditReceipts {
			return a.failed(err)
		}
		pace()
	}
}

// Passed returns those ids of from to upTo whose key a person let go on without them, as far as the newest rows of the activity log tell: they have no order.
func (a *Auditor) Passed(ctx context.Context, from, upTo relay.ID) (map[relay.ID]bool, error) {
	rows, err := a.pool.Query(ctx, a.sql(`SELECT DISTINCT i.id FROM (SELECT * FROM outbox.activity x ORDER BY x.id DESC LIMIT $3) x, unnest(x.ids) AS i(id)
		WHERE x.action IN ('skip', 'discard') AND i.id BETWEEN $1 AND $2`), from, upTo, auditLooked)
	if err != nil {
		return nil, a.failed(err)
	}
	passed := map[relay.ID]bool{}
	var id relay.ID
	_, err = pgx.ForEachRow(rows, []any{(*int64)(&id)}, func() error { passed[id] = true; return nil })
	return passed, a.failed(err)
}

// sqlAuditBegun finds a run that began lately and has not ended. The lock is held until COMMIT, so of two that begin at once one sees the other.
const sqlAuditBegun = `SELECT EXISTS (SELECT FROM (SELECT * FROM outbox.activity x ORDER BY x.id DESC LIMIT $2) b WHERE b.action = 'audit' AND b.after IS NULL
  AND b.at > clock_timestamp() - $1::bigint * interval '1 microsecond' AND NOT EXISTS (SELECT FROM outbox.activity e WHERE e.id > b.id AND e.action = 'audit'
    AND e.after ->> 'id' = b.id::text))`

// Begin writes into the activity log who compares which ids, and returns the row and its time. While a run of this outbox that began less than limit ago has not
// ended, whichever relay runs it, the error is a *relay.StateError.
func (a *Auditor) Begin(ctx context.Context, from, upTo relay.ID, limit time.Duration, act relay.Act) (id int64, at time.Time, err error) {
	err = pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		var runs bool
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('waybill audit ' || $1::text, 0))`, a.schema); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, a.sql(sqlAuditBegun), limit.Microseconds(), auditLooked).Scan(&runs); err != nil {
			return err
		}
		if runs {
			return &relay.StateError{Text: "an audit runs already, and one runs at a time; look again when it has ended"}
		}
		return tx.QueryRow(ctx, a.sql(`SELECT l.id, clock_timestamp() FROM outbox.log_activity($1, $2, 'audit', target => $3, reason => $4, address => $5) AS l(id)`),
			act.Actor, act.Via, auditTarget(from, upTo), null(act.Reason), null(act.Address)).Scan(&id, &at)
	})
	var state *relay.StateError
	if errors.As(err, &state) {
		return 0, time.Time{}, state
	}
	return id, at.UTC(), a.failed(err)
}

func auditTarget(from, upTo relay.ID) string { return fmt.Sprintf("ids %d to %d", from, upTo) }

// End writes down what a run came to: a line for people, and the whole as JSON, whose "id" is the row that Begin returned.
func (a *Auditor) End(ctx context.Context, from, upTo relay.ID, act relay.Act, line string, whole json.RawMessage) error {
	_, err := a.pool.Exec(ctx, a.sql(`SELECT outbox.log_activity($1, $2, 'audit', target => $3, result => $4, after => $5::jsonb, address => $6)`),
		act.Actor, act.Via, auditTarget(from, upTo), line, string(whole), null(act.Address))
	return a.failed(err)
}

// Ended returns what runs have come to, newest first, as far as the newest rows of the activity log tell.
func (a *Auditor) Ended(ctx context.Context, most int) ([]json.RawMessage, error) {
	rows, err := a.pool.Query(ctx, a.sql(`SELECT e.after::text FROM (SELECT * FROM outbox.activity x ORDER BY x.id DESC LIMIT $1) e
		WHERE e.action = 'audit' AND e.after IS NOT NULL ORDER BY e.id DESC LIMIT $2`), auditLooked, most)
	if err != nil {
		return nil, a.failed(err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (w json.RawMessage, err error) {
		var text string
		err = r.Scan(&text)
		return json.RawMessage(text), err
	})
	return all, a.failed(err)
}
