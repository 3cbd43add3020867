package postgres

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

var generatedID = regexp.MustCompile(`^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-([0-9]{1,19})$`)

// Find implements relay.Inspector. A number is an id first; only when there is none it is looked for among the applications' own message ids.
func (i *Inspector) Find(ctx context.Context, ref string) (relay.ID, error) {
	var id relay.ID
	if n, err := strconv.ParseInt(ref, 10, 64); err == nil {
		err := i.db.QueryRow(ctx, i.sql(`SELECT id FROM outbox.message_safe WHERE id = $1`), n).Scan(&id)
		if !errors.Is(err, pgx.ErrNoRows) {
			return id, i.failed("find", err)
		}
	}
	err := i.db.QueryRow(ctx, i.sql(`SELECT m.id FROM outbox.message_ids i JOIN outbox.message_safe m ON m.id = i.id WHERE i.message_id = $1`), ref).Scan(&id)
	if !errors.Is(err, pgx.ErrNoRows) {
		return id, i.failed("find", err)
	}
	if m := generatedID.FindStringSubmatch(ref); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return 0, relay.ErrNotFound
		}
		err = i.db.QueryRow(ctx, i.sql(`SELECT id FROM outbox.message_safe WHERE id = $1 AND message_id = $2`), n, ref).Scan(&id)
		if !errors.Is(err, pgx.ErrNoRows) {
			return id, i.failed("find", err)
		}
	}
	return 0, relay.ErrNotFound
}

// rowColumns are the columns of a relay.MessageRow, of view message_status as s.
const rowColumns = `s.id, s.message_id, s.topic, coalesce(s.key, ''), coalesce(s.type, ''), s.created_at, s.payload_bytes, s.state, coalesce(s.detail, ''),
  coalesce(s.passed, false), coalesce(s.destination, ''), s.attempts, s.due_at, coalesce(s.outcome, ''), coalesce(s.class, ''), coalesce(s.error_code, '')`

func rowTargets(m *relay.MessageRow) []any {
	return []any{&m.ID, &m.MessageID, &m.Topic, &m.Key, &m.Type, opt(&m.CreatedAt), &m.Size, &m.State, &m.Detail, &m.Passed, &m.Destination, &m.Attempts,
		opt(&m.DueAt), &m.Outcome, &m.Class, &m.Code, &m.Error}
}

const sqlMessage = `SELECT ` + rowColumns + `, coalesce(s.error, ''), coalesce(s.content_type, ''), coalesce(s.traceparent, ''), coalesce(s.header_names, '{}'),
  s.deliver_after, s.first_failed_at, s.discarded_at, coalesce(h.sending, false), s.id <= o.claimed,
  CASE WHEN s.state = 'pending' AND h.id IS NULL THEN (SELECT count(*) FROM (SELECT FROM outbox.message_pending p WHERE p.id < s.id LIMIT $2) x) ELSE 0 END,
  CASE WHEN h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed THEN (SELECT count(*) FROM (SELECT FROM outbox.message_held b WHERE b.topic = h.topic
    AND b.key = h.key AND b.key IS NOT NULL AND b.state <> 'scheduled' AND NOT b.passed AND b.id > h.id LIMIT $2) x) ELSE 0 END,
  coalesce(f.id, 0), coalesce(f.state, ''), coalesce(h.fingerprint, 0)
FROM outbox.message_status s CROSS JOIN outbox.overview o LEFT JOIN outbox.message_held h ON h.id = s.id
LEFT JOIN LATERAL (SELECT b.id, b.state FROM outbox.message_held b WHERE h.state = 'blocked' AND b.topic = h.topic AND b.key = h.key AND b.key IS NOT NULL
  AND b.state <> 'scheduled' AND NOT b.passed AND b.id < h.id ORDER BY b.topic, b.key, b.id LIMIT 1) f ON true
WHERE s.id = $1`

// Message implements relay.Inspector.
func (i *Inspector) Message(ctx context.Context, id relay.ID) (relay.MessageInfo, error) {
	var m relay.MessageInfo
	targets := append(rowTargets(&m.MessageRow), &m.ContentType, &m.Traceparent, &m.HeaderNames, opt(&m.DeliverAfter), opt(&m.FirstFailedAt), opt(&m.DiscardedAt),
		&m.Sending, &m.Claimed, &m.Before, &m.Behind, &m.Head, &m.HeadState, &m.Failure)
	err := i.db.QueryRow(ctx, i.sql(sqlMessage), id, relay.CountCap+1).Scan(targets...)
	if errors.Is(err, pgx.ErrNoRows) {
		return m, relay.ErrNotFound
	}
	if err != nil {
		return m, i.failed("message", err)
	}
	if m.State == relay.StateDiscarded {
		if err := i.discard(ctx, &m); err != nil {
			return m, err
		}
	}
	rows, err := i.db.Query(ctx, i.sql(`SELECT destination, lane, coalesce(lane_offset, -1), acked_at, epoch, coalesce(detail, '') FROM outbox.receipts_of($1)`), id)
	if err == nil {
		m.Places, err = pgx.CollectRows(rows, scanPlace)
	}
	return m, i.failed("message", err)
}

// discard adds who gave the message up and why, where the login may see it.
func (i *Inspector) discard(ctx context.Context, m *relay.MessageInfo) error {
	err := i.db.QueryRow(ctx, i.sql(`SELECT a.actor, coalesce(a.reason, '') FROM outbox.message_discarded d JOIN outbox.activity a ON a.id = d.activity_id WHERE d.id = $1`), m.ID).
		Scan(&m.DiscardedBy, &m.Reason)
	if errors.Is(err, pgx.ErrNoRows) || sqlState(err) == stateDenied {
		return nil
	}
	return i.failed("message", err)
}

// Attempts implements relay.Inspector.
func (i *Inspector) Attempts(ctx context.Context, id relay.ID) ([]relay.AttemptInfo, error) {
	rows, err := i.db.Query(ctx, i.sql(`SELECT n, at, epoch, coalesce(instance, ''), coalesce(lane, ''), outcome, coalesce(class, ''), coalesce(error_code, ''),
  coalesce(error, ''), coalesce((extract(epoch FROM took) * 1000000)::bigint, 0) FROM outbox.attempt WHERE id = $1 ORDER BY n LIMIT $2`), id, relay.MaxPage)
	var out []relay.AttemptInfo
	if err == nil {
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (a relay.AttemptInfo, err error) {
			var micros int64
			err = r.Scan(&a.N, opt(&a.At), &a.Epoch, &a.Instance, &a.Lane, &a.Outcome, &a.Class, &a.Code, &a.Error, &micros)
			a.Took = time.Duration(micros) * time.Microsecond
			return a, err
		})
	}
	return out, i.failed("attempts", err)
}
