package postgres

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// $1 epoch, $2,$3 runs of acked ids of the main flow, $4 acked ids from held, $5 to $13 one element for each receipt, $14 a repeat of what was settled
// before: then only rows that are still being sent leave held, because a person may have put the message there anew. 0 = fenced or reborn.
const sqlSettle = `WITH f AS MATERIALIZED (SELECT 1 FROM outbox.owner o WHERE o.epoch = $1 AND EXISTS (SELECT FROM outbox.alive a WHERE a.epoch = $1) FOR UPDATE OF o),
d AS (DELETE FROM outbox.message_pending p USING unnest($2::bigint[], $3::bigint[]) AS r(lo, hi)
  WHERE p.id BETWEEN r.lo AND r.hi AND EXISTS (SELECT FROM f)),
dh AS (DELETE FROM outbox.message_held WHERE id = ANY ($4::bigint[]) AND (sending OR NOT $14::boolean) AND EXISTS (SELECT FROM f)),
r AS (INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, first_offset, acked_at, ids, detail)
  SELECT u.hi, u.lo, u.n, $1, u.seq, u.destination, u.lane, u.first_offset, now(), u.ids, u.detail
  FROM unnest($5::bigint[], $6::bigint[], $7::int[], $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::bytea[], $13::text[])
    AS u(hi, lo, n, seq, destination, lane, first_offset, ids, detail)
  WHERE EXISTS (SELECT FROM f) ON CONFLICT DO NOTHING)
SELECT count(*) FROM f`

// lockWait bounds the wait for a person's lock on held rows. It comes behind the statement that locks the owner row: the owner's own sessions wait for each
// other there, on a busy machine for longer than this.
const lockWait = `SELECT set_config('lock_timeout', '200ms', true)`

// keepMarks is how long a settle is kept to be repeated: a crash takes back at most 3 x wal_writer_delay (0.6 s) of asynchronous commits.
const keepMarks = 5 * time.Second

// mark is one settlement as it was sent.
type mark struct {
	seq  uint64
	at   time.Time
	acks []any
	held []any // nil = none
}

// recent keeps what was settled lately, because those commits are asynchronous and a crash may take them back. What a later synchronous commit has flushed
// is forgotten.
type recent struct {
	mu   sync.Mutex
	seq  uint64
	list []mark
}

func (r *recent) add(acks, held []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	now := time.Now()
	r.list = slices.DeleteFunc(r.list, func(m mark) bool { return now.Sub(m.at) > keepMarks })
	r.list = append(r.list, mark{r.seq, now, acks, held})
}

func (r *recent) last() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seq
}

func (r *recent) flushed(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.DeleteFunc(r.list, func(m mark) bool { return m.seq <= seq })
}

func (r *recent) all() []mark {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// Settle implements relay.Store: one asynchronous transaction, one round trip.
func (s *Store) Settle(ctx context.Context, lease relay.Lease, t relay.Settlement) (relay.Settled, error) {
	own, err := s.owner(lease)
	if err != nil {
		return relay.Settled{}, err
	}
	acks, err := ackArgs(own.epoch, t)
	if err != nil {
		return relay.Settled{}, err
	}
	var held []any
	if len(t.Hold)+len(t.Release)+len(t.Attempts) > 0 {
		end, err := own.taken.decide(ctx)
		if err != nil {
			return relay.Settled{}, explain("settle", err)
		}
		defer end()
		own.taken.fronts.below(t.Hold)
		held = heldArgs(own.epoch, t, own.taken.fronts)
	}
	var done relay.Settled
	err = own.settler.use(ctx, again, func(ctx context.Context, c *pgx.Conn) (err error) {
		done, err = s.settle(ctx, c, own, acks, held, t)
		return err
	})
	if err != nil {
		return relay.Settled{}, explain("settle", err)
	}
	if done.HeldWaits {
		own.marks.add(acks, nil)
		own.taken.remove(t.AckedHeld, nil)
	} else {
		own.marks.add(acks, held)
		own.taken.remove(t.AckedHeld, t.Hold)
		own.taken.fronts.released(t.Release, done.StillHeld)
	}
	return done, nil
}

// settle sends the acks together with the held part; when a person's lock holds that up, the acks go alone.
func (s *Store) settle(ctx context.Context, c *pgx.Conn, own *ownership, acks, held []any, t relay.Settlement) (relay.Settled, error) {
	more, err := s.sendSettle(ctx, c, own, acks, held, t.Attempts)
	if held != nil && sqlState(err) == stateLockWait {
		_, err = s.sendSettle(ctx, c, own, acks, nil, nil)
		return relay.Settled{HeldWaits: err == nil}, err
	}
	var done relay.Settled
	for _, i := range more {
		done.StillHeld = append(done.StillHeld, t.Release[i-1])
	}
	return done, err
}

// sendSettle runs one transaction. It returns the positions, from 1, of the released keys that still have rows.
func (s *Store) sendSettle(ctx context.Context, c asker, own *ownership, acks, held []any, attempts []relay.Attempt) ([]int64, error) {
	b := &pgx.Batch{}
	var ok, okHeld int64 = 0, 1
	var more []int64
	b.Queue(s.fenced(sqlSettle), acks...).QueryRow(func(r pgx.Row) error { return r.Scan(&ok) })
	if held != nil {
		b.Queue(lockWait)
		b.Queue(s.fenced(sqlSettleHeld), held...).QueryRow(func(r pgx.Row) error { return r.Scan(&okHeld, &more) })
	}
	if len(attempts) > 0 {
		b.Queue(s.fenced(sqlAttempts), attemptArgs(own.epoch, attempts)...)
		b.Queue(s.fenced(sqlTrimAttempts), int64(own.epoch), attemptIDs(attempts))
	}
	r := c.SendBatch(ctx, b)
	kp.Hit(kp.SettleSent)
	if err := r.Close(); err != nil {
		return nil, err
	}
	if ok == 0 || okHeld == 0 {
		return nil, s.whose(ctx, c, own)
	}
	return more, nil
}

// ackArgs are $1 to $14 of sqlSettle.
func ackArgs(epoch relay.Epoch, t relay.Settlement) ([]any, error) {
	lo, hi := make([]int64, len(t.Acked)), make([]int64, len(t.Acked))
	for i, r := range t.Acked {
		lo[i], hi[i] = int64(r.Lo), int64(r.Hi)
	}
	n := len(t.Receipts)
	his, los, ns, seqs, offsets := make([]int64, n), make([]int64, n), make([]int32, n), make([]int64, n), make([]*int64, n)
	destinations, lanes, ids, details := make([]string, n), make([]string, n), make([][]byte, n), make([]*string, n)
	var buf []byte
	for i := range t.Receipts {
		r := &t.Receipts[i]
		at := len(buf)
		var err error
		if buf, err = appendIDs(buf, r.IDs); err != nil {
			return nil, errors.Join(errLocal, err)
		}
		ids[i] = buf[at:len(buf):len(buf)]
		his[i], los[i], ns[i], seqs[i] = int64(r.IDs[len(r.IDs)-1]), int64(r.IDs[0]), int32(len(r.IDs)), r.Seq
		destinations[i], lanes[i] = r.Destination, r.Lane
		if r.FirstOffset >= 0 {
			offsets[i] = &r.FirstOffset
		}
		if r.Detail != "" {
			details[i] = &r.Detail
		}
	}
	return []any{int64(epoch), lo, hi, int64s(t.AckedHeld), his, los, ns, seqs, destinations, lanes, offsets, ids, details, false}, nil
}

func int64s(ids []relay.ID) []int64 {
	out := make([]int64, len(ids))
	for i, id := range ids {
		out[i] = int64(id)
	}
	return out
}

// settleAgain settles again, in the transaction of the revival, what a crash may have taken back. A connection that broke without a crash has lost nothing.
// What a person's lock holds up is left out: those rows come back as being sent, or are read again.
func (s *Store) settleAgain(ctx context.Context, tx pgx.Tx, own *ownership) error {
	send := func(acks, held []any) error {
		return pgx.BeginFunc(ctx, tx, func(point pgx.Tx) error {
			_, err := s.sendSettle(ctx, point, own, acks, held, nil)
			return err
		})
	}
	for _, m := range own.marks.all() {
		acks := slices.Clone(m.acks)
		acks[len(acks)-1] = true
		held := slices.Clone(m.held)
		if held != nil {
			held[len(held)-2], held[len(held)-1] = make([]int64, len(held[len(held)-2].([]int64))), true // no front outlives a crash
		}
		err := send(acks, held)
		if held != nil && sqlState(err) == stateLockWait {
			err = send(acks, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
