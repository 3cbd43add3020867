package relaytest

import (
	"context"
	"slices"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// reader is the position of the main reader and its holes.
type reader struct {
	fresh bool // the next main Read must start from 0
	after relay.ID
	holes []hole // ascending, disjoint, inside (0, after]
	probe *probe
}

type hole struct {
	lo, hi relay.ID
	since  time.Time
}

// probe is an open question: once every transaction up to xid has ended, ids up to upTo that were not seen do not exist.
type probe struct {
	upTo relay.ID
	xid  int64
}

// Read implements relay.Store. It revives the outbox after a crash when it is asked from 0: until then every call gets ErrReborn.
func (s *Memory) Read(ctx context.Context, lease relay.Lease, after relay.ID, limit relay.ReadLimit) (page relay.Page, err error) {
	if limit.Rows < 1 {
		broken("Read of less than one row")
	}
	err = s.do(ctx, OpRead, func(db *Database) error {
		in, err := s.guard(lease)
		if err == relay.ErrReborn {
			s.main.fresh = true
			if after == 0 && !limit.CatchUp {
				in, err = s.revive(lease), nil
			}
		}
		if err == nil && s.main.fresh && (after != 0 || limit.CatchUp) {
			err = relay.ErrReborn
		}
		if err != nil {
			return err
		}
		if limit.CatchUp {
			s.readBehind(after, limit, &page)
		} else {
			s.readMain(after, limit, &page)
		}
		page.Incarnation, page.Listed = in, limit.Seq
		for i := range page.Messages {
			s.seen[page.Messages[i].ID] = in
		}
		if n := len(s.main.holes); n > 0 {
			page.Holes, page.FirstHole = n, s.main.holes[0].lo
			page.OldestHole = slices.MinFunc(s.main.holes, func(a, b hole) int { return a.since.Compare(b.since) }).since
		}
		return nil
	})
	if err != nil {
		return relay.Page{}, err
	}
	return page, nil
}

// revive begins a new server incarnation and settles again what no synchronous commit has followed.
func (s *Memory) revive(lease relay.Lease) relay.Incarnation {
	in := relay.Incarnation(random16())
	s.db.alive[lease.Epoch] = in
	for _, again := range s.unsynced {
		s.settleAcked(lease, again)
	}
	return in
}

func (s *Memory) readMain(after relay.ID, limit relay.ReadLimit, page *relay.Page) {
	db, r := s.db, &s.main
	switch {
	case after == 0:
		*r = reader{}
	case after != r.after:
		r.after = after
		r.holes = slices.DeleteFunc(r.holes, func(h hole) bool { return h.hi > after })
	}
	before := r.after
	full := s.collect(before, relay.ID(1<<62), nil, limit, page)
	if n := len(page.Messages); n > 0 {
		r.took(page.Messages, before)
		if full {
			before = min(before, page.Messages[n-1].ID) // a full answer proves nothing behind its end
		}
	}
	if r.probe != nil && db.xmin() > r.probe.xid {
		r.holes = slices.DeleteFunc(r.holes, func(h hole) bool { return h.hi <= min(r.probe.upTo, before) })
		r.probe = nil
	}
	if r.probe == nil && len(r.holes) > 0 {
		r.probe = &probe{upTo: db.seq, xid: db.xid}
	}
	page.After, page.More = r.after, full
}

// took splits the holes that messages came out of and adds the gaps before new ones.
func (r *reader) took(messages []relay.Message, before relay.ID) {
	for i := range messages {
		id := messages[i].ID
		if id > before {
			if id > r.after+1 {
				r.holes = append(r.holes, hole{r.after + 1, id - 1, time.Now()})
			}
			r.after = id
			continue
		}
		h := slices.IndexFunc(r.holes, func(h hole) bool { return h.lo <= id && id <= h.hi })
		if h < 0 {
			broken("a row came from below the cursor and out of no hole")
		}
		was := r.holes[h]
		var parts []hole
		if was.lo < id {
			parts = append(parts, hole{was.lo, id - 1, was.since})
		}
		if id < was.hi {
			parts = append(parts, hole{id + 1, was.hi, was.since})
		}
		r.holes = slices.Replace(r.holes, h, h+1, parts...)
	}
}

// readBehind is the catch-up reader: its own position, the holes of the main one, nothing above the main position.
func (s *Memory) readBehind(after relay.ID, limit relay.ReadLimit, page *relay.Page) {
	full := s.collect(after, s.main.after, limit.Skip, limit, page)
	page.After, page.More = max(after, s.main.after), full
	if n := len(page.Messages); full && n > 0 {
		page.After = max(after, page.Messages[n-1].ID)
	}
}

// collect appends the lowest pending ids of the holes and above `after`, up to `top`, to the page, and says whether there is more.
func (s *Memory) collect(after, top relay.ID, skip func(relay.ID) bool, limit relay.ReadLimit, page *relay.Page) (more bool) {
	db, bytes := s.db, 0
	take := func(lo, hi relay.ID) bool {
		i, _ := slices.BinarySearch(db.pending, lo)
		for ; i < len(db.pending) && db.pending[i] <= hi; i++ {
			id := db.pending[i]
			if skip != nil && skip(id) {
				continue
			}
			if len(page.Messages) == limit.Rows || (limit.PageBytes > 0 && bytes >= limit.PageBytes) {
				return false
			}
			m := db.message(id)
			if m.Size > limit.InlineBytes {
				m.Payload = nil
			} else {
				bytes += m.Size
			}
			page.Messages = append(page.Messages, m)
		}
		return true
	}
	for _, h := range s.main.holes {
		if h.lo > after { // only of the catch-up reader: inside its own tail
			break
		}
		if !take(h.lo, min(h.hi, after)) {
			return true
		}
	}
	return !take(after+1, top)
}
