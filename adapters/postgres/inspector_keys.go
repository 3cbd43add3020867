package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

const keyColumns = `k.topic, k.key, k.id, k.state, coalesce(k.class, ''), k.held_at, k.due_at, k.attempts,
  (SELECT count(*) FROM (SELECT FROM outbox.message_held b WHERE b.topic = k.topic AND b.key = k.key AND b.key IS NOT NULL AND b.state <> 'scheduled'
     AND NOT b.passed AND b.id > k.id LIMIT %[1]s) x), %[2]s`

const headColumns = `h.topic, h.key, h.id, h.state, h.class, h.error, h.held_at, h.due_at, h.attempts`

// A skip scan: one index probe for each key, whatever waits behind it.
var sqlKeys = `WITH RECURSIVE k AS (
  (SELECT ` + headColumns + ` FROM outbox.message_held h WHERE h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed
     AND (h.topic, h.key) > ($1::text COLLATE "C", $2::text COLLATE "C") ORDER BY h.topic, h.key, h.id LIMIT 1)
  UNION ALL
  SELECT n.* FROM k CROSS JOIN LATERAL (SELECT ` + headColumns + ` FROM outbox.message_held h WHERE h.key IS NOT NULL AND h.state <> 'scheduled'
    AND NOT h.passed AND (h.topic, h.key) > (k.topic, k.key) ORDER BY h.topic, h.key, h.id LIMIT 1) n)
SELECT ` + fmt.Sprintf(keyColumns, "$4", "left(coalesce(k.error, ''), 200)") + ` FROM (SELECT * FROM k LIMIT $3) k`

var sqlKey = `SELECT ` + fmt.Sprintf(keyColumns, "$3", "coalesce(k.error, '')") + ` FROM (SELECT ` + headColumns + ` FROM outbox.message_held h
  WHERE h.topic = $1 AND h.key = $2 AND h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed ORDER BY h.topic, h.key, h.id LIMIT 1) k`

func scanKey(r pgx.CollectableRow) (k relay.KeyInfo, err error) {
	return k, r.Scan(&k.Topic, &k.Key.Key, &k.Head, &k.State, &k.Class, opt(&k.Since), opt(&k.DueAt), &k.Attempts, &k.Behind, &k.Error)
}

// Keys implements relay.Inspector.
func (i *Inspector) Keys(ctx context.Context, after relay.Key, limit int) (relay.KeyList, error) {
	limit = pageSize(limit)
	rows, err := i.db.Query(ctx, i.sql(sqlKeys), after.Topic, after.Key, limit+1, relay.CountCap+1)
	var list relay.KeyList
	if err == nil {
		list.Items, err = pgx.CollectRows(rows, scanKey)
	}
	if err != nil {
		return relay.KeyList{}, i.failed("keys", err)
	}
	if len(list.Items) > limit {
		list.Items, list.More = list.Items[:limit], true
	}
	return list, nil
}

// Key implements relay.Inspector.
func (i *Inspector) Key(ctx context.Context, key relay.Key) (relay.KeyInfo, error) {
	rows, err := i.db.Query(ctx, i.sql(sqlKey), key.Topic, key.Key, relay.CountCap+1)
	var k relay.KeyInfo
	if err == nil {
		k, err = pgx.CollectExactlyOneRow(rows, scanKey)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return k, relay.ErrNotFound
	}
	return k, i.failed("key", err)
}

var _ relay.Inspector = (*Inspector)(nil)
