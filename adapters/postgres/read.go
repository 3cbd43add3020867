package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybillmq/waybill/relay"
)

// probeEvery is how often holes are asked about.
const probeEvery = 100 * time.Millisecond

// reader is the memory of one ownership about what was read: owned by whoever holds the turn of its session.
type reader struct {
	session *session // set once: read without the turn
	decode  *decoder
	made    int      // connections of the session seen so far: another one has lost the waiting ids
	resetAt relay.ID // ids above the sequence up to here were already answered by a reset
	missing relay.ID // id without a log row, met once

	listing
	statements map[string]*pgconn.StatementDescription
}

// listing is what a session that begins at 0 forgets.
type listing struct {
	incarnation relay.Incarnation // everything listed was listed in it
	reset       bool              // the next Read must start from 0
	holes       holes
	probe       probe
	probedAt    time.Time
	highest     relay.ID // highest position of the sequence seen
	few         bool     // the last answer was short
	main        feed
	catchUp     feed
}

// feed is the waiting list of one reader: ids listed, rows not read yet.
type feed struct {
	now     []relay.ID // ascending; a page is a prefix of it
	next    []relay.ID // the answer after that one, ascending for itself
	nowSeq  int64      // of the calls whose answers these are
	nextSeq int64
	listed  relay.ID // catch-up only: position of the last answer
	handed  relay.ID // After of the last page
}

// advance takes n ids off, and goes on to the next answer when this one is done.
func (f *feed) advance(n int) {
	if f.now = f.now[n:]; len(f.now) == 0 {
		f.now, f.next, f.nowSeq = f.next, nil, f.nextSeq
	}
}

func newReader(s *session, in relay.Incarnation, g []relay.Generation) *reader {
	return &reader{session: s, decode: newDecoder(g), listing: listing{incarnation: in, reset: true}}
}

// Read implements relay.Store.
func (s *Store) Read(ctx context.Context, lease relay.Lease, after relay.ID, limit relay.ReadLimit) (relay.Page, error) {
	own, err := s.owner(lease)
	if err != nil {
		return relay.Page{}, err
	}
	var page relay.Page
	err = own.read.session.use(ctx, again, func(ctx context.Context, c *pgx.Conn) (err error) {
		page, err = s.read(ctx, c, own, after, limit)
		return err
	})
	return page, explain("read", err)
}

func (s *Store) read(ctx context.Context, c *pgx.Conn, own *ownership, after relay.ID, limit relay.ReadLimit) (relay.Page, error) {
	r := own.read
	if err := r.prepare(ctx, c, s); err != nil {
		return relay.Page{}, err
	}
	f := &r.main
	if limit.CatchUp {
		f = &r.catchUp
	}
	switch {
	case after == 0 && !limit.CatchUp && (r.reset || r.holes.after != 0):
		if err := s.restart(ctx, c, own); err != nil {
			return relay.Page{}, err
		}
	case r.reset:
		return relay.Page{}, relay.ErrReborn
	case (after != f.handed || limit.Restart) && limit.CatchUp:
		*f = feed{listed: after, handed: after}
	case after != f.handed || limit.Restart:
		r.unlist()
		r.holes.restart(after, time.Now())
		f.handed = after
	}
	for {
		msgs, seq, err := r.roundTrip(ctx, c, own, f, limit)
		if errors.Is(err, relay.ErrReborn) {
			r.reset = true
			if errors.Is(s.whose(ctx, c, own), relay.ErrFenced) {
				err = relay.ErrFenced
			}
		}
		if err != nil {
			return relay.Page{}, err
		}
		if len(msgs) > 0 {
			return r.page(f, msgs, seq, limit), nil
		}
		if len(f.now) == 0 {
			return r.page(f, nil, limit.Seq, limit), nil
		}
	} // at most twice: the second round trip brings a row, or an error
}

// prepare makes the statements of a new connection, and forgets the lists of the old one: their ids become holes, so that they are listed again.
func (r *reader) prepare(ctx context.Context, c *pgx.Conn, s *Store) error {
	if r.made == r.session.made {
		return nil
	}
	r.unlist()
	r.statements = map[string]*pgconn.StatementDescription{}
	for name, sql := range map[string]string{"ids": sqlIDs, "dense": sqlDense, "sparse": sqlSparse, "last": sqlLast, "xid": sqlXid} {
		d, err := c.Prepare(ctx, "waybill_"+name, s.sql(sql))
		if err != nil {
			return err
		}
		r.statements[name] = d
	}
	r.made = r.session.made
	return nil
}

// unlist drops both waiting lists without losing an id.
func (r *reader) unlist() {
	now := time.Now()
	r.holes.putBack(r.main.now, now)
	r.holes.putBack(r.main.next, now)
	r.main.now, r.main.next = nil, nil
	r.catchUp = feed{listed: r.catchUp.handed, handed: r.catchUp.handed}
	r.probe = probe{}
}

// restart begins a session at 0.
func (s *Store) restart(ctx context.Context, c *pgx.Conn, own *ownership) error {
	in, err := s.alive(ctx, c, own)
	if err != nil {
		return err
	}
	own.read.listing = listing{incarnation: in}
	return nil
}

// list takes an answer in.
func (r *reader) list(f *feed, a answer, limit relay.ReadLimit) {
	if !limit.CatchUp {
		r.few = len(a.ids) <= fewRows
		f.next, f.nextSeq = r.holes.apply(a, &r.probe, time.Now()), limit.Seq
		f.advance(0)
		return
	}
	f.nowSeq = limit.Seq
	for _, id := range a.ids {
		if id > r.main.handed {
			break // the main reader's
		}
		if id > f.listed || r.holes.has(id) {
			if limit.Skip == nil || !limit.Skip(id) {
				f.now = append(f.now, id)
			}
		}
	}
	if a.full {
		f.listed = max(f.listed, min(a.ids[len(a.ids)-1], r.main.handed))
	} else {
		f.listed = max(f.listed, r.main.handed)
	}
}

func (r *reader) page(f *feed, msgs []relay.Message, listed int64, limit relay.ReadLimit) relay.Page {
	if n := len(msgs); n > 0 {
		f.handed = max(f.handed, msgs[n-1].ID)
	}
	more := len(f.now) > 0
	if limit.CatchUp && !more {
		f.handed = max(f.handed, f.listed)
		more = f.handed < r.main.handed
	}
	p := relay.Page{Messages: msgs, Incarnation: r.incarnation, Listed: listed, After: f.handed, More: more, Holes: len(r.holes.ranges)}
	if p.Holes > 0 {
		p.FirstHole, p.OldestHole = r.holes.ranges[0].lo, r.holes.oldest()
	}
	for _, waiting := range [][]relay.ID{r.main.now, r.main.next} { // listed out of a hole and not handed over yet: still unseen for the engine
		if len(waiting) > 0 && waiting[0] <= r.main.handed && (p.FirstHole == 0 || waiting[0] < p.FirstHole) {
			p.FirstHole = waiting[0]
		}
	}
	return p
}

// Fetch implements relay.Store.
func (s *Store) Fetch(ctx context.Context, lease relay.Lease, ids []relay.ID) ([]*relay.Message, error) {
	own, err := s.owner(lease)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	list, first, last := make([]int64, len(ids)), ids[0], ids[0]
	for i, id := range ids {
		list[i], first, last = int64(id), min(first, id), max(last, id)
	}
	found := make(map[relay.ID]*relay.Message, len(ids))
	err = own.read.session.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, s.sql(sqlSparse), int64(first), int64(last), math.MaxInt32, int64(math.MaxInt64), list)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			m := &relay.Message{}
			if err := own.read.decode.message(m, rows.RawValues()); err != nil {
				return err
			}
			found[m.ID] = m
		}
		return rows.Err()
	})
	if err != nil {
		return nil, explain("fetch", err)
	}
	out := make([]*relay.Message, len(ids))
	for i, id := range ids {
		if out[i] = found[id]; out[i] == nil {
			return nil, fmt.Errorf("postgres: fetch: message %d has no row in message_log", id)
		}
	}
	return out, nil
}
