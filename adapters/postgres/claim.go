package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// $1 epoch, $2 highest id, $3 server incarnation in which the ids were read. No row = fenced or reborn. The sequence is a cell: it is updated in place, so
// a held snapshot keeps no dead versions of it, and setval writes WAL, so its commit flushes the WAL of everything that was read before.
const sqlClaim = `WITH f AS MATERIALIZED (SELECT 1 FROM outbox.owner o WHERE o.epoch = $1
  AND EXISTS (SELECT FROM outbox.alive a WHERE a.epoch = $1 AND a.incarnation = $3) FOR UPDATE OF o)
SELECT setval('outbox.claimed', greatest($2::bigint, (SELECT last_value FROM outbox.claimed))) FROM f`

// Claim implements relay.Store. A COMMIT whose wait for a synchronous standby was given up is a failed claim: it is written again.
func (s *Store) Claim(ctx context.Context, lease relay.Lease, upTo relay.ID, in relay.Incarnation) error {
	if kp.Planted(kp.NoClaim) {
		return nil
	}
	own, err := s.owner(lease)
	if err != nil {
		return err
	}
	marks := own.marks.last()
	err = own.claimer.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		b := &pgx.Batch{}
		b.Queue(s.fenced(sqlClaim), int64(own.epoch), int64(upTo), [16]byte(in))
		r := c.SendBatch(ctx, b)
		kp.Hit(kp.ClaimSent)
		var claimed int64
		err := r.QueryRow().Scan(&claimed)
		if closeErr := r.Close(); err == nil {
			err = closeErr // the COMMIT's own
		}
		if errors.Is(err, pgx.ErrNoRows) {
			return s.whose(ctx, c, own)
		}
		return err
	})
	if err == nil {
		s.claimed(own, upTo)
		own.marks.flushed(marks) // a flushed commit takes every commit before it to disk
	}
	return explain("claim", err)
}

// fenced renders a statement with the guard of its epoch; planted bugs take parts of the guard away, to see whether the checker notices.
func (s *Store) fenced(q string) string {
	switch {
	case kp.Planted(kp.NoFence):
		q = strings.ReplaceAll(q, "o.epoch = $1", "$1::bigint IS NOT NULL")
		q = strings.ReplaceAll(q, "w.epoch = $1", "$1::bigint IS NOT NULL")
		q = strings.ReplaceAll(q, "a.epoch = $1", "$1::bigint IS NOT NULL")
	case kp.Planted(kp.ClaimAnyIncarnation):
		q = strings.ReplaceAll(q, "AND EXISTS (SELECT FROM outbox.alive a WHERE a.epoch = $1 AND a.incarnation = $3)", "AND $3::uuid IS NOT NULL")
		q = strings.ReplaceAll(q, "AND EXISTS (SELECT FROM outbox.alive a WHERE a.epoch = $1)", "")
	}
	return s.sql(q)
}
