package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// A skip scan over the groups; of each at most $1 messages are counted, so that the cost has a bound whatever is dead. Grouping hashes
// what count(DISTINCT) would sort, as records: it takes a third of the time.
const (
	sqlFailureIDs = `WITH RECURSIVE f AS (
  (SELECT h.fingerprint FROM outbox.message_held h WHERE h.fingerprint IS NOT NULL ORDER BY h.fingerprint LIMIT 1)
  UNION ALL
  SELECT n.fingerprint FROM f CROSS JOIN LATERAL (SELECT h.fingerprint FROM outbox.message_held h WHERE h.fingerprint > f.fingerprint
    ORDER BY h.fingerprint LIMIT 1) n)
SELECT * FROM f LIMIT $2`
	sqlFailures = `SELECT f.fingerprint, a.destination, coalesce(a.class, ''), coalesce(a.error_code, ''), left(coalesce(a.error, ''), 200), c.topics,
  c.dead, c.alive, c.keys, coalesce(a.first_failed_at, a.held_at), z.changed_at
FROM f CROSS JOIN LATERAL (SELECT sum(t.dead)::bigint AS dead, sum(t.alive)::bigint AS alive, sum(t.keys)::bigint AS keys, (array_agg(t.topic ORDER BY t.topic))[1:5] AS topics
  FROM (SELECT k.topic, sum(k.dead) AS dead, sum(k.alive) AS alive, count(*) FILTER (WHERE k.key IS NOT NULL AND k.waits) AS keys
    FROM (SELECT x.topic, x.key, count(*) FILTER (WHERE x.state = 'dead') AS dead, count(*) FILTER (WHERE x.state <> 'dead') AS alive, bool_or(NOT x.passed) AS waits
      FROM (SELECT h.state, h.topic, h.key, h.passed FROM outbox.message_held h WHERE h.fingerprint = f.fingerprint ORDER BY h.id LIMIT $1) x GROUP BY x.topic, x.key) k
    GROUP BY k.topic) t) c
CROSS JOIN LATERAL (SELECT h.* FROM outbox.message_held h WHERE h.fingerprint = f.fingerprint ORDER BY h.id LIMIT 1) a
CROSS JOIN LATERAL (SELECT h.changed_at FROM outbox.message_held h WHERE h.fingerprint = f.fingerprint ORDER BY h.id DESC LIMIT 1) z`
	sqlActivity = `SELECT a.id, a.at, a.actor, a.db_user, coalesce(a.address, ''), a.via, a.action, coalesce(a.target, ''), coalesce(a.reason, ''), a.requested,
  a.changed, coalesce(a.ids[1:10], '{}'), coalesce(a.result, '') FROM outbox.activity a WHERE a.id < $1 ORDER BY a.id DESC LIMIT $2`
)

func scanFailure(r pgx.CollectableRow) (g relay.FailureGroup, err error) {
	return g, r.Scan(&g.ID, &g.Destination, &g.Class, &g.Code, &g.Error, &g.Topics, &g.Dead, &g.Retrying, &g.Keys, opt(&g.First), opt(&g.Last))
}

// Failures implements relay.Inspector.
func (i *Inspector) Failures(ctx context.Context) ([]relay.FailureGroup, error) {
	rows, err := i.db.Query(ctx, i.sql(`WITH f AS (`+sqlFailureIDs+`) `+sqlFailures), relay.CountCap+1, relay.MaxPage)
	var groups []relay.FailureGroup
	if err == nil {
		groups, err = pgx.CollectRows(rows, scanFailure)
	}
	slices.SortStableFunc(groups, func(a, b relay.FailureGroup) int {
		return int(b.Dead+b.Retrying) - int(a.Dead+a.Retrying)
	})
	return groups, i.failed("failures", err)
}

// Failure implements relay.Inspector.
func (i *Inspector) Failure(ctx context.Context, id relay.FailureID) (relay.FailureGroup, error) {
	rows, err := i.db.Query(ctx, i.sql(`WITH f AS (SELECT $2::bigint AS fingerprint) `+sqlFailures), relay.CountCap+1, int64(id))
	var g relay.FailureGroup
	if err == nil {
		g, err = pgx.CollectExactlyOneRow(rows, scanFailure)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return g, relay.ErrNotFound
	}
	return g, i.failed("failure", err)
}

// Activity implements relay.Inspector. A login that may act, but not without taking the role, takes it for this question alone.
func (i *Inspector) Activity(ctx context.Context, before int64, limit int) ([]relay.ActivityRow, error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	var list []relay.ActivityRow
	read := func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, i.sql(sqlActivity), before, pageSize(limit))
		if err == nil {
			list, err = pgx.CollectRows(rows, scanActivity)
		}
		return err
	}
	err := pgx.BeginFunc(ctx, i.db, read)
	if sqlState(err) == stateDenied {
		taken := pgx.BeginFunc(ctx, i.db, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL ROLE "+pgx.Identifier{i.schema + "_operator"}.Sanitize()); err != nil {
				return err
			}
			return read(tx)
		})
		if taken == nil {
			return list, nil
		}
	}
	return list, personError("activity", i.schema, "operator", err)
}

func scanActivity(r pgx.CollectableRow) (a relay.ActivityRow, err error) {
	return a, r.Scan(&a.ID, opt(&a.At), &a.Actor, &a.DBUser, &a.Address, &a.Via, &a.Action, &a.Target, &a.Reason, &a.Requested, &a.Changed, &a.IDs, &a.Result)
}
