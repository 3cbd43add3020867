package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// xmin, server incarnation, holes and tail, all in one snapshot. $1 epoch, $2,$3 holes, $4 position, $5 most ids.
const sqlIDs = `SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin, (SELECT a.incarnation FROM outbox.alive a WHERE a.epoch = $1::bigint) AS incarnation,
  ARRAY(SELECT s.id FROM (
          SELECT p.id FROM unnest($2::bigint[], $3::bigint[]) AS h(lo, hi)
          CROSS JOIN LATERAL (SELECT q.id FROM outbox.message_pending q WHERE q.id BETWEEN h.lo AND h.hi ORDER BY q.id LIMIT $5::bigint) p
          UNION ALL
          (SELECT q.id FROM outbox.message_pending q WHERE q.id > $4::bigint ORDER BY q.id LIMIT $5::bigint) ) s
        ORDER BY s.id LIMIT $5::bigint) AS ids`

const sqlRow = `m.id, m.created_at, m.deliver_after, m.topic, m.key, m.type, m.content_type, m.message_id, m.traceparent, m.tracestate, m.headers`

// Log rows whose ids lie close together: $1 first, $2 last, $3 inline payload limit, $4 inline bytes of a page. Up to and with the row that fills the page.
const sqlDense = `SELECT r.id, r.created_at, r.deliver_after, r.topic, r.key, r.type, r.content_type, r.message_id, r.traceparent, r.tracestate, r.headers, r.size,
       CASE WHEN r.size <= $3::int THEN r.payload END AS payload
FROM ( SELECT m.*, octet_length(m.payload) AS size,
              sum(CASE WHEN octet_length(m.payload) <= $3::int THEN octet_length(m.payload) ELSE 0 END) OVER (ORDER BY m.id ROWS UNBOUNDED PRECEDING) AS bytes
       FROM outbox.message_log m WHERE m.id BETWEEN $1::bigint AND $2::bigint ) r
WHERE r.bytes - CASE WHEN r.size <= $3::int THEN r.size ELSE 0 END < $4::bigint
ORDER BY r.id`

// The same for ids far apart: $5 the ids. Each is looked up by itself, in its own partition; = ANY would search every partition in between, and a plain join
// may walk all rows in between when there are many partitions. LIMIT keeps the planner from making such a join of it.
const sqlSparse = `SELECT r.id, r.created_at, r.deliver_after, r.topic, r.key, r.type, r.content_type, r.message_id, r.traceparent, r.tracestate, r.headers, r.size,
       CASE WHEN r.size <= $3::int THEN r.payload END AS payload
FROM ( SELECT m.*, octet_length(m.payload) AS size,
              sum(CASE WHEN octet_length(m.payload) <= $3::int THEN octet_length(m.payload) ELSE 0 END) OVER (ORDER BY w.n ROWS UNBOUNDED PRECEDING) AS bytes
       FROM unnest($5::bigint[]) WITH ORDINALITY AS w(id, n)
       CROSS JOIN LATERAL (SELECT l.* FROM outbox.message_log l WHERE l.id = w.id AND l.id BETWEEN $1::bigint AND $2::bigint LIMIT 1) m ) r
WHERE r.bytes - CASE WHEN r.size <= $3::int THEN r.size ELSE 0 END < $4::bigint
ORDER BY r.id`

// The two halves of the probe are two transactions, in this order: a sequence is read in place, not by snapshot, and the xid must be drawn after it.
const (
	sqlLast = `SELECT last_value FROM outbox.message_id_seq`
	sqlXid  = `SELECT pg_current_xact_id()::text::bigint`
)

const sqlIncarnation = `SELECT incarnation FROM outbox.alive WHERE epoch = $1`

// roundTrip asks for the ids of the next page and the rows of this one, and takes in what comes: rows that were listed by call number seq. When few are
// expected it asks for the rows of the answer, too, before it knows which they are: a message that comes alone then takes one round trip and not two.
func (r *reader) roundTrip(ctx context.Context, c *pgx.Conn, own *ownership, f *feed, limit relay.ReadLimit) (msgs []relay.Message, seq int64, err error) {
	rows := f.now[:min(len(f.now), max(limit.Rows, 1))]
	ask := len(f.now) == len(rows) && len(f.next) == 0 && (!limit.CatchUp || len(rows) == 0)
	early := ask && !limit.CatchUp && len(rows) == 0 && r.few
	probing := ask && !limit.CatchUp && !r.probe.asked && len(r.holes.ranges) > 0 && time.Since(r.probedAt) >= probeEvery
	p := c.PgConn().StartPipeline(ctx)
	if probing {
		p.SendQueryPrepared(r.statements["last"].Name, nil, nil, binaryFormat)
		p.SendPipelineSync()
		p.SendQueryPrepared(r.statements["xid"].Name, nil, nil, binaryFormat)
		p.SendPipelineSync()
	}
	var most int64
	if ask {
		most = r.sendIDs(p, own.epoch, f, limit)
	}
	switch {
	case len(rows) > 0:
		r.sendRows(p, rows, limit)
	case early:
		r.sendDense(p, r.holes.near(fewRows/2), r.holes.after+fewRows, limit)
	}
	err = p.Sync()
	in := incoming{p: p}
	if err == nil && probing {
		err = r.takeProbe(&in)
	}
	var a answer
	if err == nil && ask {
		a, err = r.takeIDs(&in, most)
	}
	if err == nil && probing {
		if err = r.checkSequence(); err != nil {
			own.marks.flushed(own.marks.last()) // their ids may be drawn again, for other messages
		}
	}
	seq = f.nowSeq
	if err == nil && early {
		r.list(f, a, limit)
		seq, rows = f.nowSeq, f.now[:min(len(f.now), max(limit.Rows, 1))]
	}
	if err == nil && (early || len(rows) > 0) {
		msgs, err = r.takeRows(&in, rows, limit, early)
	}
	if closeErr := p.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, 0, err
	}
	f.advance(len(msgs))
	if ask && !early {
		r.list(f, a, limit)
	}
	return msgs, seq, nil
}

// fewRows is how many ids an answer has at most for the next one to be expected as short.
const fewRows = 64

func (r *reader) sendIDs(p *pgconn.Pipeline, epoch relay.Epoch, f *feed, limit relay.ReadLimit) (most int64) {
	position := r.holes.after
	if limit.CatchUp {
		position = f.listed
	}
	lo, hi, seen := r.holes.ask(maxHoleRanges, position)
	if kp.Planted(kp.CursorIsLast) {
		lo, hi, seen = nil, nil, 0
	}
	most = int64(max(limit.Rows, 1)) + seen
	p.SendQueryPrepared(r.statements["ids"].Name, [][]byte{bigint(int64(epoch)), bigints(lo), bigints(hi), bigint(int64(position)), bigint(most)}, binaryFormat, binaryFormat)
	return most
}

func (r *reader) sendRows(p *pgconn.Pipeline, ids []relay.ID, limit relay.ReadLimit) {
	first, last := ids[0], ids[len(ids)-1]
	if int64(last-first) < 4*int64(len(ids)) {
		r.sendDense(p, first, last, limit)
		return
	}
	list := make([]int64, len(ids))
	for i, id := range ids {
		list[i] = int64(id)
	}
	p.SendQueryPrepared(r.statements["sparse"].Name, append(rowArgs(first, last, limit), bigints(list)), binaryFormat, binaryFormat)
}

func (r *reader) sendDense(p *pgconn.Pipeline, first, last relay.ID, limit relay.ReadLimit) {
	p.SendQueryPrepared(r.statements["dense"].Name, rowArgs(first, last, limit), binaryFormat, binaryFormat)
}

func rowArgs(first, last relay.ID, limit relay.ReadLimit) [][]byte {
	inline, bytes := min(max(limit.InlineBytes, 0), math.MaxInt32), max(limit.PageBytes, 1)
	return [][]byte{bigint(int64(first)), bigint(int64(last)), integer(int32(inline)), bigint(int64(bytes))}
}

func (r *reader) takeProbe(in *incoming) error {
	last, err := in.number()
	if err != nil {
		return err
	}
	if err := in.sync(); err != nil {
		return err
	}
	xid, err := in.number()
	if err != nil {
		return err
	}
	r.probe = probe{asked: true, last: relay.ID(last), xid: xid}
	r.probedAt = time.Now()
	return in.sync()
}

// checkSequence notices that somebody set the sequence back: its next ids lie below the position that we had when we asked, and in no hole. Everything is
// read again then, once for the same position: an id that was written by hand above the sequence stays there.
func (r *reader) checkSequence() error {
	if r.probe.last < r.highest || r.probe.last < r.holes.after && r.holes.after > r.resetAt {
		r.resetAt = r.holes.after
		return relay.ErrReborn
	}
	r.highest = r.probe.last
	return nil
}

func (r *reader) takeIDs(in *incoming, most int64) (answer, error) {
	row, err := in.row()
	if err != nil {
		return answer{}, err
	}
	a := answer{xmin: int64(binary.BigEndian.Uint64(row[0]))}
	if len(row[1]) != 16 || relay.Incarnation(row[1]) != r.incarnation {
		if !kp.Planted(kp.ClaimAnyIncarnation) {
			return a, relay.ErrReborn
		}
	}
	if a.ids, err = idArray(row[2]); err != nil {
		return a, err
	}
	a.full = int64(len(a.ids)) >= most
	return a, in.end()
}

// takeRows merges the rows with the ids asked for: rows that are not on the list were settled or are new, and are skipped. An id without a row is never
// passed over: early, when the rows were asked for before the ids were known, what comes before it is taken.
func (r *reader) takeRows(in *incoming, ids []relay.ID, limit relay.ReadLimit, early bool) ([]relay.Message, error) {
	result, err := in.result()
	if err != nil {
		return nil, err
	}
	msgs, bytes := make([]relay.Message, 0, len(ids)), 0
	for result.NextRow() {
		row := result.Values()
		if len(row) != colCount || len(row[colID]) != 8 {
			return nil, fmt.Errorf("%w: a log row came in another shape", errLocal)
		}
		bytes += len(row[colPayload])
		id := relay.ID(binary.BigEndian.Uint64(row[colID]))
		if len(msgs) == len(ids) || id < ids[len(msgs)] {
			continue
		}
		if id > ids[len(msgs)] {
			if early {
				ids = ids[:len(msgs)]
				continue
			}
			return nil, r.lost(ids[len(msgs)])
		}
		msgs = msgs[:len(msgs)+1]
		if err := r.decode.message(&msgs[len(msgs)-1], row); err != nil {
			return nil, err
		}
	}
	if _, err := result.Close(); err != nil {
		return nil, err
	}
	if !early && len(msgs) < len(ids) && bytes < max(limit.PageBytes, 1) {
		return nil, r.lost(ids[len(msgs)])
	}
	return msgs, nil
}

// lost answers a pending id without a log row: read once more from a reset, then stop.
func (r *reader) lost(id relay.ID) error {
	if r.missing != id {
		r.missing = id
		return relay.ErrReborn
	}
	return &relay.RefusedError{Text: fmt.Sprintf("postgres: message %d is pending and has no row in message_log: somebody deleted it by hand, or the table is damaged. "+
		"It is not passed over. Restore the row, or delete the id from message_pending when the message is known to be unwanted", id)}
}
