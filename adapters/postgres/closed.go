package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

const sqlHead = `SELECT h.topic, h.key, h.id, h.state, h.due_at IS NOT NULL OR h.sending AS due`

// closedStep is how many rows one step of sqlClosed reads. Where each key has few rows it costs a row for each, where one has very many it passes them over.
const closedStep = "64"

// sqlClosedStep begins behind a key; the last of a full step, which has n = closedStep, is where the next one begins.
const sqlClosedStep = `SELECT p.*, row_number() OVER w AS n, (lag(p.topic) OVER w, lag(p.key) OVER w) IS NOT DISTINCT FROM (p.topic, p.key) AS again FROM (` + sqlHead + `
    FROM outbox.message_held h WHERE h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed AND (h.topic, h.key) > (%s)
    ORDER BY h.topic, h.key, h.id LIMIT ` + closedStep + `) p WINDOW w AS (ORDER BY p.topic, p.key, p.id)`

// One row for each closed key, its lowest: $1 topic, $2 key to begin behind, $3 how many. If that row is blocked and a later one is retrying, that is the head.
// The steps come in the order of the keys, and no more of them than the limit needs; Closed checks the order.
var sqlClosed = `WITH RECURSIVE k AS (
  (` + fmt.Sprintf(sqlClosedStep, "$1::text, $2::text") + `)
  UNION ALL
  SELECT n.* FROM k CROSS JOIN LATERAL (` + fmt.Sprintf(sqlClosedStep, "k.topic, k.key") + `) n WHERE k.n = ` + closedStep + `)
SELECT ` + sqlNamed + ` FROM k ` + sqlRetrying + ` WHERE NOT k.again LIMIT $3`

// The same for the given keys: $1 topics, $2 keys.
const sqlClosedOnly = `SELECT ` + sqlNamed + ` FROM unnest($1::text[], $2::text[]) AS a(topic, key) CROSS JOIN LATERAL (` + sqlHead + ` FROM outbox.message_held h
  WHERE h.topic = a.topic AND h.key = a.key AND h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed ORDER BY h.topic, h.key, h.id LIMIT 1) k ` + sqlRetrying

const sqlNamed = `k.topic, k.key, coalesce(r.id, k.id), coalesce(r.state, k.state), coalesce(r.due, k.due), ` + sqlOrphan

const sqlRetrying = `LEFT JOIN LATERAL (SELECT h.id, h.state, h.due_at IS NOT NULL OR h.sending AS due FROM outbox.message_held h
  WHERE k.state = 'blocked' AND h.topic = k.topic AND h.key = k.key AND h.key IS NOT NULL AND h.state = 'retrying' AND NOT h.passed LIMIT 1) r ON true`

// A closed key without head and without anything due or in flight: an act and a take can cross. It would wait for ever.
const sqlOrphan = `k.state = 'blocked' AND NOT k.due AND NOT EXISTS (SELECT FROM outbox.message_held h WHERE h.topic = k.topic AND h.key = k.key
  AND h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed AND (h.state <> 'blocked' OR h.due_at IS NOT NULL OR h.sending)) AS orphan`

// What people have changed since act $1, up to act $2: whether those are more than $3 messages, and their keys when they are not. A row with a target, such as the
// end of an operation, counts what other rows did.
const sqlTouched = `WITH a AS MATERIALIZED (SELECT coalesce(sum(a.changed), 0) AS messages, coalesce(sum(cardinality(a.ids)), 0) AS named
  FROM outbox.activity a WHERE a.id > $1 AND a.id <= $2 AND a.target IS NULL AND a.changed > 0)
SELECT a.messages > a.named OR a.messages > $3 AS many, m.topic, m.key FROM a LEFT JOIN LATERAL (
  SELECT DISTINCT m.topic, m.key FROM outbox.activity t CROSS JOIN LATERAL unnest(t.ids) AS i(id) CROSS JOIN LATERAL (
    SELECT m.topic, m.key FROM outbox.message_log m WHERE m.id = i.id) m
  WHERE a.messages <= $3 AND t.id > $1 AND t.id <= $2 AND t.changed > 0 AND m.key IS NOT NULL) m ON true`

// touchedMost is how many messages that people have changed are looked up.
const touchedMost = 5000

// touched names the keys of the messages that people have changed between two acts. Whatever goes wrong: they are too many, and all closed keys are asked for.
func (s *Store) touched(ctx context.Context, c *pgx.Conn, after, upTo int64) (keys []relay.Key, many bool) {
	rows, err := c.Query(ctx, s.sql(sqlTouched), after, upTo, touchedMost)
	if err != nil {
		return nil, true
	}
	var more bool
	var topic, key *string
	if _, err := pgx.ForEachRow(rows, []any{&more, &topic, &key}, func() error {
		if many = many || more; key != nil {
			keys = append(keys, relay.Key{Topic: *topic, Key: *key})
		}
		return nil
	}); err != nil || many {
		return nil, true
	}
	return keys, false
}

// Closed implements relay.Store.
func (s *Store) Closed(ctx context.Context, lease relay.Lease, q relay.ClosedQuery) ([]relay.Head, error) {
	own, err := s.owner(lease)
	if err != nil {
		return nil, err
	}
	var heads []relay.Head
	var orphans []relay.Key
	err = own.read.session.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		heads, orphans = nil, nil
		in, err := s.alive(ctx, c, own) // no decision may rest on what a zombie sees, nor on rows that a crash brought back
		if err != nil {
			return err
		}
		own.read.reset = own.read.reset || in != own.read.incarnation
		rows, err := s.closedHeads(ctx, c, q)
		if err != nil {
			return err
		}
		last := q.After
		var h relay.Head
		var orphan bool
		_, err = pgx.ForEachRow(rows, []any{&h.Key.Topic, &h.Key.Key, (*int64)(&h.ID), (*string)(&h.State), &h.Due, &orphan}, func() error {
			if len(q.Only) == 0 && h.Key.Compare(last) <= 0 {
				return errors.Join(errLocal, errors.New("closed keys came in another order"))
			}
			if last = h.Key; orphan {
				h.Due = true // by the release below
				orphans = append(orphans, h.Key)
			}
			heads = append(heads, h)
			return nil
		})
		return err
	})
	if err == nil && len(orphans) > 0 {
		_, err = s.Settle(ctx, lease, relay.Settlement{Release: orphans})
	}
	if err != nil {
		return nil, explain("closed keys", err)
	}
	return heads, nil
}

func (s *Store) closedHeads(ctx context.Context, c *pgx.Conn, q relay.ClosedQuery) (pgx.Rows, error) {
	if len(q.Only) == 0 {
		return c.Query(ctx, s.sql(sqlClosed), q.After.Topic, q.After.Key, q.Limit)
	}
	topics, keys := make([]string, len(q.Only)), make([]string, len(q.Only))
	for i, k := range q.Only {
		topics[i], keys[i] = k.Topic, k.Key
	}
	return c.Query(ctx, s.sql(sqlClosedOnly), topics, keys)
}
