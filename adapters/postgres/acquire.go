package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// movedEpochs is how far the epoch jumps after a change of timeline: above whatever a lost tail of the old server granted.
const movedEpochs = 1_000_000

const sqlNewestGeneration = `SELECT system_identifier, timeline, database_oid, outbox_id::text FROM outbox.generations ORDER BY from_id DESC LIMIT 1`

// The row lock makes every claim, take and settle of an older epoch wait here and then find nothing.
const sqlAcquire = `UPDATE outbox.owner o SET epoch = o.epoch + 1, owner = $1, address = $2, released = false, acquired_at = clock_timestamp(),
  lease_until = clock_timestamp() + $3::bigint * interval '1 microsecond',
  quiet_until = CASE WHEN was.released THEN o.quiet_until ELSE greatest(o.quiet_until, clock_timestamp() + $4::bigint * interval '1 microsecond') END
FROM (SELECT one, released, lease_until FROM outbox.owner FOR UPDATE) was
WHERE o.one = was.one AND was.lease_until < clock_timestamp()
RETURNING o.epoch, was.released, (extract(epoch FROM greatest(o.quiet_until - clock_timestamp(), '0')) * 1000000)::bigint,
  (SELECT last_value FROM outbox.claimed)`

const sqlNewGeneration = `INSERT INTO outbox.generations (from_id, system_identifier, timeline, database_oid, reason) VALUES ($1, $2, $3, $4, $5)`

// A second change of timeline before anything was claimed: nothing was published under the generation that began there, in this history.
const sqlSameGeneration = `UPDATE outbox.generations SET outbox_id = gen_random_uuid(), timeline = $3, reason = $5, started_at = now()
WHERE from_id = $1 AND system_identifier = $2 AND database_oid = $4`

const (
	sqlJumpEpoch   = `UPDATE outbox.owner SET epoch = epoch + $1, low_water = least(low_water, $2) RETURNING epoch`
	sqlNoBrake     = `SELECT setval('outbox.ceiling', 9223372036854775807) WHERE $1::bigint = 0`
	sqlBury        = `DELETE FROM outbox.alive`
	sqlLive        = `INSERT INTO outbox.alive (epoch) VALUES ($1) RETURNING incarnation`
	sqlInterrupted = `SELECT outbox.operation_interrupted()`
	sqlUnsend      = `UPDATE outbox.message_held SET sending = false WHERE sending`
	sqlReroute     = `UPDATE outbox.message_held SET destination = '' WHERE destination <> '' AND NOT destination = ANY ($1::text[])`
	sqlGenerations = `SELECT from_id, outbox_id::text FROM outbox.generations ORDER BY from_id`
	sqlLastAct     = `SELECT coalesce(max(id), 0) FROM outbox.activity`
)

// The low-water mark never falls: a new owner starts with one hole from 0 on, and the brake must not trip for it.
const sqlRenew = `UPDATE outbox.owner SET lease_until = clock_timestamp() + $2::bigint * interval '1 microsecond', low_water = greatest(low_water, $3),
  read_up_to = $4, pending = $5, oldest_at = $6
WHERE epoch = $1 RETURNING CASE WHEN $7::bigint > 0 THEN setval('outbox.ceiling', greatest(low_water, 0) + $7::bigint) ELSE 0 END`

// By epoch and owner: on another history of the server the same epoch may have been granted to somebody else.
const sqlRelease = `UPDATE outbox.owner SET lease_until = '-infinity', released = true WHERE epoch = $1 AND owner = $2`

// Revived only on the server history of the newest generation.
const sqlRevive = `WITH f AS MATERIALIZED (SELECT 1 FROM outbox.owner WHERE epoch = $1 FOR UPDATE)
INSERT INTO outbox.alive (epoch) SELECT $1 FROM f
WHERE (SELECT h FROM outbox.here() h) = (SELECT (g.system_identifier, g.timeline, g.database_oid) FROM outbox.generations g ORDER BY g.from_id DESC LIMIT 1)
ON CONFLICT (epoch) DO UPDATE SET epoch = excluded.epoch RETURNING incarnation`

// Acquire implements relay.Store. Only the clock of the database decides, and only this server's own history: a copy is refused, a promotion starts a new
// generation of message ids.
func (s *Store) Acquire(ctx context.Context, terms relay.Terms) (relay.Lease, error) {
	s.mu.Lock()
	own, closed := s.owned, s.closed
	s.owned = nil
	s.mu.Unlock()
	if closed {
		return relay.Lease{}, relay.ErrClosed
	}
	if own != nil {
		own.close() // one ownership at a time: what it read and keeps to repeat belongs to no other epoch
	}
	s.lease.compareWith(nil)
	if err := s.refuse(ctx); err != nil {
		return relay.Lease{}, explain("acquire", err)
	}
	var g grant
	err := s.lease.use(ctx, once, func(ctx context.Context, c *pgx.Conn) (err error) {
		g, err = s.acquire(ctx, c, terms)
		return err
	})
	if err != nil {
		return relay.Lease{}, explain("acquire", err)
	}
	own = s.newOwnership(g)
	s.lease.compareWith(own)
	s.mu.Lock()
	s.owned = own
	s.acquired(g)
	s.mu.Unlock()
	return g.lease, nil
}

// grant is what one Acquire transaction decided.
type grant struct {
	lease       relay.Lease
	here        here
	incarnation relay.Incarnation
	lastAct     int64
}

func (s *Store) newOwnership(g grant) *ownership {
	own := &ownership{epoch: g.lease.Epoch, here: g.here, generations: g.lease.Generations}
	session := func(role string) *session {
		n := s.newSession(role, own.epoch)
		n.own = own
		return n
	}
	own.read = newReader(session("reader"), g.incarnation, own.generations)
	own.claimer, own.settler = session("claimer"), session("settler")
	own.taken = newTaken(g)
	return own
}

// refuse looks at the server before anything is written there.
func (s *Store) refuse(ctx context.Context) error {
	return s.lease.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		_, _, _, err := s.identify(ctx, c)
		return err
	})
}

// identify returns where c leads to, and where the newest generation began and its uuid. A standby, a copy and a restored dump are refused.
func (s *Store) identify(ctx context.Context, c *pgx.Conn) (now, began here, outbox string, err error) {
	now, err = s.readHere(ctx, c)
	if errors.Is(err, errStandby) {
		return now, began, "", &relay.RefusedError{Text: "postgres: this server is a standby (it is in recovery): an outbox is relayed from its primary only, " +
			"because a standby shows rows late, in another order, and takes no claim. Point database.url at the primary, or promote this server"}
	}
	if err != nil {
		return now, began, "", err
	}
	err = c.QueryRow(ctx, s.sql(sqlNewestGeneration)).Scan(&began.system, &began.timeline, &began.database, &outbox)
	if err != nil {
		return now, began, "", err
	}
	if now.system != began.system || now.database != began.database {
		return now, began, "", &relay.RefusedError{Text: fmt.Sprintf("postgres: this outbox was written on another server or database (system identifier %d, database %d; "+
			"here %d, %d): it is a copy or was moved, and relaying it here may publish everything a second time. If the original is gone, run: "+
			"waybill adopt --moved. If this is a copy beside it, run: waybill adopt --copied", began.system, began.database, now.system, now.database)}
	}
	return now, began, outbox, nil
}

// acquire runs the transaction. The lease counts from before its first statement.
func (s *Store) acquire(ctx context.Context, c *pgx.Conn, terms relay.Terms) (g grant, err error) {
	l := relay.Lease{Owner: terms.Owner, Asked: time.Now(), Term: terms.Lease}
	tx, err := c.Begin(ctx)
	if err != nil {
		return g, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback(ctx) // the connection is dropped when even this fails
		}
	}()
	now, began, outbox, err := s.identify(ctx, c)
	if err != nil {
		return g, err
	}
	var released bool
	var quiet, epoch, claimed int64
	err = tx.QueryRow(ctx, s.sql(sqlAcquire), terms.Owner, terms.Address, terms.Lease.Microseconds(), terms.Quarantine.Microseconds()).
		Scan(&epoch, &released, &quiet, &claimed)
	if errors.Is(err, pgx.ErrNoRows) {
		return g, relay.ErrOwned
	}
	if err != nil {
		return g, err
	}
	reason := whyOlder(s.Known(), relay.Known{System: now.system, Outbox: outbox, Epoch: relay.Epoch(epoch), Claimed: relay.ID(claimed)})
	if now.timeline != began.timeline {
		reason = fmt.Sprintf("timeline %d became %d: promotion or restore", began.timeline, now.timeline)
	}
	if reason != "" {
		if err = s.newGeneration(ctx, tx, claimed+1, now, reason); err != nil {
			return g, err
		}
		if err = tx.QueryRow(ctx, s.sql(sqlJumpEpoch), movedEpochs, claimed).Scan(&epoch); err != nil {
			return g, err
		}
	}
	l.Began = reason
	l.Epoch, l.Claimed, l.System = relay.Epoch(epoch), relay.ID(claimed), now.system
	l.Takeover = !released
	if quiet > 0 { // it counts from the statement on, which may have waited for locks since Asked
		l.Quiet = time.Duration(quiet)*time.Microsecond + time.Since(l.Asked)
	}
	g = grant{lease: l, here: now}
	if err = s.settleIn(ctx, tx, &g, terms.Configured); err != nil {
		return g, err
	}
	if err = tx.Commit(ctx); err != nil {
		return g, err
	}
	return g, nil
}

// newGeneration makes ids from `from` on other messages than those that the lost tail of the old server may have published.
func (s *Store) newGeneration(ctx context.Context, tx pgx.Tx, from int64, now here, reason string) error {
	var there bool
	if err := tx.QueryRow(ctx, s.sql(`SELECT EXISTS (SELECT FROM outbox.generations WHERE from_id = $1)`), from).Scan(&there); err != nil {
		return err
	}
	q := sqlNewGeneration
	if there {
		q = sqlSameGeneration
	}
	_, err := tx.Exec(ctx, s.sql(q), from, now.system, now.timeline, now.database, reason)
	return err
}

// settleIn makes the tables the new owner's, in the transaction of its Acquire.
func (s *Store) settleIn(ctx context.Context, tx pgx.Tx, g *grant, configured []string) error {
	if configured == nil {
		configured = []string{}
	}
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('application_name', $1, false), set_config('statement_timeout', '10s', true)`, fmt.Sprintf("waybill/%d/lease", g.lease.Epoch))
	b.Queue(s.sql(sqlBury))
	b.Queue(s.sql(sqlLive), g.lease.Epoch).QueryRow(func(r pgx.Row) error { return r.Scan((*[16]byte)(&g.incarnation)) })
	b.Queue(s.sql(sqlInterrupted))
	b.Queue(s.sql(sqlUnsend))
	b.Queue(s.sql(sqlReroute), configured)
	b.Queue(s.sql(sqlArm), 0)
	b.Queue(s.sql(sqlNoBrake), s.cfg.MaxUnsent)
	b.Queue(s.sql(sqlLastAct)).QueryRow(func(r pgx.Row) error { return r.Scan(&g.lastAct) })
	b.Queue(s.sql(sqlGenerations)).Query(func(rows pgx.Rows) (err error) {
		g.lease.Generations, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (n relay.Generation, err error) {
			return n, r.Scan(&n.From, &n.UUID)
		})
		return err
	})
	return tx.SendBatch(ctx, b).Close()
}

// Renew implements relay.Store. A late one that finds its epoch unchanged on the server of the lease is valid: nobody else owned.
func (s *Store) Renew(ctx context.Context, lease relay.Lease, p relay.Progress) (relay.Lease, error) {
	if _, err := s.owner(lease); err != nil {
		return lease, err
	}
	asked := time.Now()
	var pending *int64
	var oldest *time.Time
	if p.Pending >= 0 {
		pending = &p.Pending
	}
	if !p.OldestAt.IsZero() {
		oldest = &p.OldestAt
	}
	err := s.lease.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		var n int64
		err := c.QueryRow(ctx, s.sql(sqlRenew), lease.Epoch, lease.Term.Microseconds(), p.LowWater, p.ReadUpTo, pending, oldest, s.cfg.MaxUnsent).Scan(&n)
		if errors.Is(err, pgx.ErrNoRows) {
			return relay.ErrFenced
		}
		return err
	})
	if err != nil {
		return lease, explain("renew", err)
	}
	lease.Asked = asked
	return lease, nil
}

// Release implements relay.Store. It also works when the lease session ended because the server moved: what still names this owner there is given back.
func (s *Store) Release(ctx context.Context, lease relay.Lease) error {
	s.mu.Lock()
	own := s.owned
	if own != nil && own.epoch == lease.Epoch {
		s.owned = nil
	} else {
		own = nil
	}
	s.mu.Unlock()
	if own != nil {
		own.close()
	}
	s.lease.compareWith(nil)
	err := s.lease.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		done, err := c.Exec(ctx, s.sql(sqlRelease), lease.Epoch, lease.Owner)
		if err == nil && done.RowsAffected() == 0 {
			return relay.ErrFenced
		}
		return err
	})
	return explain("release", err)
}

// alive says in which server incarnation the epoch lives. After a crash it gets a new one, in one transaction with what the crash may have taken back: nobody
// settles, takes or decides in a server incarnation before that. Whoever calls it holds the reader's turn.
func (s *Store) alive(ctx context.Context, c *pgx.Conn, own *ownership) (in relay.Incarnation, err error) {
	err = c.QueryRow(ctx, s.sql(sqlIncarnation), own.epoch).Scan((*[16]byte)(&in))
	if !errors.Is(err, pgx.ErrNoRows) {
		return in, err
	}
	if err := s.whose(ctx, c, own); !errors.Is(err, relay.ErrReborn) {
		return in, err
	}
	end, err := own.taken.decide(ctx)
	if err != nil {
		return in, err
	}
	own.taken.fronts.clear() // the crash may have brought rows back; nobody settles before the revival
	end()
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, s.sql(sqlRevive), own.epoch).Scan((*[16]byte)(&in)); err != nil {
			return err
		}
		return s.settleAgain(ctx, tx, own)
	})
	if !errors.Is(err, pgx.ErrNoRows) {
		return in, err
	}
	if err := s.whose(ctx, c, own); !errors.Is(err, relay.ErrReborn) {
		return in, err
	}
	own.moved.set() // still ours, and not on the history of the newest generation
	return in, relay.ErrMoved
}

// asker is a connection, or a transaction on one.
type asker interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// whose says why a fenced statement found nothing: ErrFenced when another epoch owns the outbox; ErrReborn when it is still ours.
func (s *Store) whose(ctx context.Context, c asker, own *ownership) error {
	var epoch relay.Epoch
	if err := c.QueryRow(ctx, s.sql(`SELECT epoch FROM outbox.owner`)).Scan(&epoch); err != nil {
		return err
	}
	if epoch != own.epoch {
		return relay.ErrFenced
	}
	return relay.ErrReborn
}

// compareWith says whose server later connections must lead to; nil = any, the caller compares by itself.
func (s *session) compareWith(own *ownership) {
	s.turn <- struct{}{}
	s.own = own
	if own != nil {
		s.epoch = own.epoch
	}
	<-s.turn
}
