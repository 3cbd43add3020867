package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// What a look without locks tells: $1 epoch, $2 destinations, $3 from which due time on. Due is the delay in microseconds until the next turn, null = none.
const sqlDue = `SELECT (SELECT a.incarnation FROM outbox.owner o JOIN outbox.alive a ON a.epoch = o.epoch WHERE o.epoch = $1) AS ours,
  (SELECT (extract(epoch FROM min(l.due_at) - clock_timestamp()) * 1000000)::bigint FROM unnest($2::text[]) AS o(destination) CROSS JOIN LATERAL (
    SELECT h.due_at FROM outbox.message_held h WHERE h.destination = o.destination AND h.due_at >= ` + sqlFrom + ` AND h.due_at IS NOT NULL AND NOT h.sending
      AND h.due_at < 'infinity' AND h.due_at > '-infinity' ORDER BY h.due_at, h.id LIMIT 1) l) AS due,
  (SELECT coalesce(max(id), 0) FROM outbox.activity) AS last_act`

// A due time in microseconds since 1970, 0 = all.
const sqlFrom = `CASE WHEN $3::bigint = 0 THEN '-infinity' ELSE timestamptz 'epoch' + $3::bigint * interval '1 microsecond' END`

// No row = fenced or reborn. Its own statement, before the others: their snapshots are younger than every settle before it.
const sqlFence = `SELECT 1 FROM outbox.owner o WHERE o.epoch = $1 AND EXISTS (SELECT FROM outbox.alive a WHERE a.epoch = $1) FOR UPDATE OF o`

// After a take whose answer was lost: what it marked and nobody has. $1 epoch, $2 ids that are being sent.
const sqlUntake = `UPDATE outbox.message_held h SET sending = false, attempts = greatest(h.attempts - 1, 0), changed_at = now()
WHERE h.sending AND NOT h.id = ANY ($2::bigint[]) AND EXISTS (SELECT FROM outbox.owner o WHERE o.epoch = $1)`

// $1 epoch, $2 destinations that can send now ("" among them), $3 from which due time on, $4 inline limit, $5 bytes, $6 rows for each destination; $7 to $9
// topic[], key[], id[]: fronts of keys. coalesce keeps the planner from
// looking for the rows of a key in the index of due ones.
const sqlTake = `WITH d AS MATERIALIZED (
  SELECT l.*, coalesce((SELECT f.id FROM unnest($7::text[], $8::text[], $9::bigint[]) AS f(topic, key, id) WHERE f.topic = l.topic AND f.key = l.key), 0) AS front
  FROM unnest($2::text[]) AS o(destination) CROSS JOIN LATERAL (
    SELECT h.id, h.topic, h.key, h.state, h.passed FROM outbox.message_held h
    WHERE h.destination = o.destination AND h.due_at <= now() AND h.due_at >= ` + sqlFrom + ` AND h.due_at IS NOT NULL AND NOT h.sending AND EXISTS (
      SELECT FROM outbox.owner w JOIN outbox.alive a ON a.epoch = w.epoch WHERE w.epoch = $1)
    ORDER BY h.due_at, h.id LIMIT $6 FOR UPDATE OF h SKIP LOCKED) l),
s AS MATERIALIZED ( -- for each key: its lowest row that neither goes now nor is a released one in flight
  SELECT d.*, CASE WHEN d.key IS NOT NULL AND NOT d.passed AND row_number() OVER (PARTITION BY d.topic, d.key, d.passed ORDER BY d.id) = 1 THEN
    (SELECT h.id FROM outbox.message_held h WHERE h.topic = d.topic AND h.key = d.key AND h.id > d.front AND h.key IS NOT NULL AND h.state <> 'scheduled'
       AND NOT h.passed AND (NOT h.sending OR h.state <> 'blocked') AND h.id NOT IN (SELECT id FROM d) ORDER BY h.topic, h.key, h.id LIMIT 1) END AS stop FROM d),
g AS MATERIALIZED (
  SELECT v.id, v.passed OR v.key IS NULL OR CASE v.state WHEN 'scheduled' THEN v.stop IS NULL WHEN 'blocked' THEN v.stop IS NULL OR v.stop > v.id
      ELSE NOT EXISTS (SELECT FROM outbox.message_held h WHERE h.topic = v.topic AND h.key = v.key AND h.key IS NOT NULL AND h.state <> 'scheduled'
        AND NOT h.passed AND h.id < v.id AND h.state IN ('retrying', 'dead')) AND CASE WHEN EXISTS ( -- a lower row is due and locked: null = stays as it is
        SELECT FROM outbox.message_held h WHERE h.topic = v.topic AND h.key = v.key AND h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed
          AND h.id < v.id AND coalesce(h.due_at <= now(), false) AND NOT h.sending AND h.id NOT IN (SELECT id FROM d)) THEN NULL ELSE true END END AS go
  FROM (SELECT s.id, s.topic, s.key, s.state, s.passed, max(s.stop) OVER (PARTITION BY s.topic, s.key, s.passed) AS stop FROM s) v),
c AS MATERIALIZED ( -- bytes: a prefix in id order, at least one
  SELECT g.id, sum(CASE WHEN octet_length(m.payload) <= $4::int THEN octet_length(m.payload) END) OVER (ORDER BY g.id) AS bytes,
         row_number() OVER (ORDER BY g.id) AS n
  FROM g JOIN outbox.message_log m ON m.id = g.id WHERE g.go),
b AS (UPDATE outbox.message_held h SET state = 'blocked', due_at = NULL, changed_at = now() FROM g WHERE h.id = g.id AND NOT g.go RETURNING h.id),
t AS (UPDATE outbox.message_held h SET sending = true, attempts = h.attempts + 1, changed_at = now()
      FROM c WHERE h.id = c.id AND (c.bytes IS NULL OR c.n = 1 OR c.bytes <= $5::bigint)
      RETURNING h.id, h.state, h.attempts, h.first_failed_at, h.destination, h.passed, h.due_at)
SELECT ` + sqlRow + `, octet_length(m.payload) AS size, CASE WHEN octet_length(m.payload) <= $4::int THEN m.payload END AS payload,
  t.state, t.attempts::bigint, t.destination, t.passed, coalesce((extract(epoch FROM clock_timestamp() - t.first_failed_at) * 1000000)::bigint, 0) AS failed_for,
  CASE WHEN t.due_at > timestamptz 'epoch' THEN (extract(epoch FROM t.due_at) * 1000000)::bigint ELSE 0 END AS due, (SELECT count(*) FROM b) AS turned
FROM t JOIN outbox.message_log m ON m.id = t.id ORDER BY t.id`

// Columns of a taken row behind those of the log.
const (
	colState = colCount + iota
	colAttempts
	colDestination
	colPassed
	colFailedFor
	colDue    // microseconds since 1970
	colTurned // how many were turned back to blocked
	colTakenCount
)

// pauseWhenStuck is the least NextDue when something is due and could not be taken: somebody holds it, or a lower message of its key must go first.
const pauseWhenStuck = 100 * time.Millisecond

// taken is what the owner is sending out of held.
type taken struct {
	decode  *decoder // guarded by the claimer's turn, as all above mu
	unsure  bool     // the answer to a take was lost: it may have marked rows that nobody has
	lastAct int64
	freedIn relay.Incarnation // a crash can bring back a row as being sent whose settle it took back: those are given back once in each server incarnation

	due      dueFront
	deciding chan struct{} // held by a take, and by a settlement that changes held, from before it looks at fronts until they know its answer
	fronts   fronts        // guarded by deciding

	mu  sync.Mutex
	ids map[relay.ID]struct{}
}

func newTaken(g grant) taken {
	return taken{decode: newDecoder(g.lease.Generations), ids: map[relay.ID]struct{}{}, fronts: newFronts(), deciding: make(chan struct{}, 1), lastAct: g.lastAct,
		freedIn: g.incarnation}
}

// decide gives the caller the fronts until end is called. It waits at most until ctx ends.
func (t *taken) decide(ctx context.Context) (end func(), err error) {
	select {
	case t.deciding <- struct{}{}:
		return func() { <-t.deciding }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (t *taken) add(messages []relay.HeldMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range messages {
		t.ids[messages[i].ID] = struct{}{}
	}
}

func (t *taken) remove(acked []relay.ID, held []relay.Hold) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range acked {
		delete(t.ids, id)
	}
	for i := range held {
		delete(t.ids, held[i].ID)
	}
}

func (t *taken) all() []int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	ids := make([]int64, 0, len(t.ids))
	for id := range t.ids {
		ids = append(ids, int64(id))
	}
	return ids
}

// Held implements relay.Store. It looks first, without locking anything; only when something is due it takes, in one synchronous transaction.
func (s *Store) Held(ctx context.Context, lease relay.Lease, open []string, limit relay.HeldLimit) (relay.Taken, error) {
	own, err := s.owner(lease)
	if err != nil {
		return relay.Taken{}, err
	}
	if open == nil {
		open = []string{}
	}
	end, err := own.taken.decide(ctx)
	if err != nil {
		return relay.Taken{}, explain("take", err)
	}
	defer end()
	var got relay.Taken
	marks := own.marks.last()
	err = own.claimer.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		began := time.Now()
		from := own.taken.due.from(began)
		l, err := s.look(ctx, c, own, open, from)
		if err != nil {
			return err
		}
		got = relay.Taken{}
		first := int64(0)
		if l.due != nil && *l.due <= 0 || own.taken.astray(l.in) {
			if got.Messages, first, l, err = s.take(ctx, c, own, l.in, open, limit, from); err != nil {
				own.taken.fronts.clear()
				return err
			}
		}
		own.taken.due.looked(from, began, time.Now(), first, len(got.Messages) >= max(limit.Rows, frontRows))
		if l.lastAct > own.taken.lastAct {
			got.Keys, got.Many = s.touched(ctx, c, own.taken.lastAct, l.lastAct)
			own.taken.lastAct = l.lastAct
		}
		got.NextDue = -1
		if l.due != nil {
			got.NextDue = time.Duration(max(*l.due, 0)) * time.Microsecond
			if len(got.Messages) == 0 {
				got.NextDue = max(got.NextDue, pauseWhenStuck)
			}
		}
		return nil
	})
	if err != nil {
		return relay.Taken{}, explain("take", err)
	}
	if len(got.Messages) > 0 {
		own.marks.flushed(marks)
		own.taken.add(got.Messages)
		own.taken.sure()
		kp.Hit(kp.HeldTaken)
	}
	return got, nil
}

// look is what stands there: when the next message is due, and the last act of a person.
type look struct {
	in      relay.Incarnation
	due     *int64 // microseconds from now
	lastAct int64
}

func (s *Store) look(ctx context.Context, c *pgx.Conn, own *ownership, open []string, from int64) (look, error) {
	var l look
	var in *[16]byte
	if err := c.QueryRow(ctx, s.sql(sqlDue), int64(own.epoch), open, from).Scan(&in, &l.due, &l.lastAct); err != nil {
		return l, err
	}
	switch {
	case in != nil:
		l.in = *in
	case !kp.Planted(kp.NoFence) && !kp.Planted(kp.ClaimAnyIncarnation):
		return l, s.whose(ctx, c, own)
	}
	return l, nil
}

// take returns, besides the messages, the earliest due time among them in microseconds since 1970, 0 = none.
func (s *Store) take(ctx context.Context, c *pgx.Conn, own *ownership, in relay.Incarnation, open []string, limit relay.HeldLimit, from int64) (messages []relay.HeldMessage,
	first int64, l look, err error) {
	epoch, fence := int64(own.epoch), 0
	b := &pgx.Batch{}
	b.Queue(s.fenced(sqlFence), epoch).QueryRow(func(r pgx.Row) error { return r.Scan(&fence) })
	b.Queue(lockWait)
	if own.taken.astray(in) {
		b.Queue(s.fenced(sqlUntake), epoch, own.taken.all())
		own.taken.fronts.clear() // a crash may have brought rows back
	}
	turned := false
	topics, keys, fronts := own.taken.fronts.args()
	b.Queue(s.fenced(sqlTake), epoch, open, from, limit.InlineBytes, limit.Bytes, limit.Rows, topics, keys, fronts).Query(func(rows pgx.Rows) error {
		messages, first, turned, err = own.taken.read(rows)
		return err
	})
	b.Queue(s.sql(sqlDue), epoch, open, from).QueryRow(func(r pgx.Row) error { return r.Scan(new(*[16]byte), &l.due, &l.lastAct) })
	own.taken.unsure = true
	err = c.SendBatch(ctx, b).Close()
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		own.taken.unsure = false // undone: nothing was marked
		return nil, 0, l, s.whose(ctx, c, own)
	case err != nil:
		return nil, 0, l, err
	case fence == 0:
		return nil, 0, l, s.whose(ctx, c, own)
	case len(messages) == 0:
		own.taken.unsure = false
	}
	if turned || len(messages) == 0 {
		own.taken.fronts.clear() // a scheduled message may be blocked now, wherever its id lies
	} else {
		own.taken.fronts.took(messages)
	}
	own.taken.freedIn = in
	return messages, first, l, nil
}

// astray says that rows may be marked as being sent that nobody has.
func (t *taken) astray(in relay.Incarnation) bool { return t.unsure || t.freedIn != in }

// sure says that the answer of the last take has arrived, and that its COMMIT was confirmed.
func (t *taken) sure() { t.unsure = false }

// read turns taken rows into messages. Values are binary: the statement was described, and every type here is binary by preference but text and jsonb,
// whose two forms the decoder reads alike. first is the earliest due time among them; turned says that others were turned back to blocked.
func (t *taken) read(rows pgx.Rows) (out []relay.HeldMessage, first int64, turned bool, err error) {
	for rows.Next() {
		row := rows.RawValues()
		if len(row) != colTakenCount || len(row[colAttempts]) != 8 || len(row[colFailedFor]) != 8 || len(row[colPassed]) != 1 ||
			len(row[colDue]) != 8 || len(row[colTurned]) != 8 {
			return nil, 0, false, errors.Join(errLocal, errors.New("a held row came in another shape"))
		}
		if due := int64(binary.BigEndian.Uint64(row[colDue])); len(out) == 0 || due < first {
			first = due
		}
		turned = binary.BigEndian.Uint64(row[colTurned]) > 0
		out = append(out, relay.HeldMessage{
			State:       relay.HeldState(row[colState]),
			Attempts:    int(binary.BigEndian.Uint64(row[colAttempts])),
			FailedFor:   time.Duration(binary.BigEndian.Uint64(row[colFailedFor])) * time.Microsecond,
			Destination: string(row[colDestination]),
			Passed:      row[colPassed][0] == 1,
		})
		if err := t.decode.message(&out[len(out)-1].Message, row[:colCount]); err != nil {
			return nil, 0, false, err
		}
	}
	return out, first, turned, rows.Err()
}
