package relaytest

import (
	"context"
	"slices"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Held implements relay.Store.
func (s *Memory) Held(ctx context.Context, lease relay.Lease, open []string, limit relay.HeldLimit) (taken relay.Taken, err error) {
	if limit.Rows < 1 {
		broken("Held of less than one row")
	}
	err = s.do(ctx, OpHeld, func(db *Database) error {
		if _, err := s.guard(lease); err != nil {
			return err
		}
		now := db.now()
		for id, h := range db.held { // taken by a call whose answer was lost
			if h.Sending && !s.handed[id] {
				next := *h
				next.Sending, next.Attempts = false, max(next.Attempts-1, 0)
				db.setHeld(id, &next)
			}
		}
		t := taking{db: db, now: now, due: map[relay.ID]*HeldRow{}}
		for _, destination := range open {
			t.collect(destination, limit.Rows)
		}
		bytes := 0
		for _, id := range t.decide() {
			m := db.message(id)
			size := m.Size
			if size > limit.InlineBytes {
				m.Payload, size = nil, 0
			}
			if bytes += size; bytes > limit.Bytes && limit.Bytes > 0 && len(taken.Messages) > 0 {
				break
			}
			next := *db.held[id]
			next.Sending, next.Attempts = true, next.Attempts+1
			db.setHeld(id, &next)
			s.claimed[id], s.handed[id] = true, false
			var failedFor time.Duration
			if !next.FirstFailedAt.IsZero() {
				failedFor = max(now.Sub(next.FirstFailedAt), 1)
			}
			taken.Messages = append(taken.Messages, relay.HeldMessage{
				Message: m, State: next.State, Attempts: next.Attempts, FailedFor: failedFor, Destination: next.Destination, Passed: next.Passed,
			})
		}
		s.synced(lease)
		for _, keys := range db.acts[s.acts:] {
			taken.Keys = append(taken.Keys, keys...)
		}
		slices.SortFunc(taken.Keys, relay.Key.Compare)
		taken.Keys = slices.Compact(taken.Keys)
		if s.acts = len(db.acts); len(taken.Keys) > namedKeys {
			taken.Keys, taken.Many = nil, true
		}
		taken.NextDue = -1
		for _, h := range db.held {
			if !h.DueAt.IsZero() && !h.Sending && slices.Contains(open, h.Destination) {
				if wait := max(0, h.DueAt.Sub(now)); taken.NextDue < 0 || wait < taken.NextDue {
					taken.NextDue = wait
				}
			}
		}
		return nil
	})
	if err != nil {
		return relay.Taken{}, err
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	for i := range taken.Messages {
		s.handed[taken.Messages[i].ID] = true
	}
	return taken, nil
}

// taking decides which of the due rows may go.
type taking struct {
	db  *Database
	now time.Time
	due map[relay.ID]*HeldRow // due, not locked, inside the limit of their destination
}

func (t *taking) collect(destination string, rows int) {
	var due []*HeldRow
	for id, h := range t.db.held {
		if _, locked := t.db.locked[id]; h.Destination == destination && t.isDue(h) && !locked {
			due = append(due, h)
		}
	}
	slices.SortFunc(due, func(a, b *HeldRow) int {
		if c := a.DueAt.Compare(b.DueAt); c != 0 {
			return c
		}
		return int(a.ID - b.ID)
	})
	for _, h := range due[:min(rows, len(due))] {
		t.due[h.ID] = h
	}
}

func (t *taking) isDue(h *HeldRow) bool {
	return !h.DueAt.IsZero() && !h.DueAt.After(t.now) && !h.Sending
}

// decide returns the ids that go, ascending, and turns back what may not.
func (t *taking) decide() (goes []relay.ID) {
	for id, h := range t.due {
		switch ok, back := t.mayGo(h); {
		case ok:
			goes = append(goes, id)
		case back:
			next := *h
			next.State, next.DueAt = relay.Blocked, time.Time{}
			t.db.setHeld(id, &next)
		}
	}
	slices.Sort(goes)
	return goes
}

// mayGo says whether a due row goes now, else whether it turns back to blocked; a row that does neither stays as it is.
func (t *taking) mayGo(h *HeldRow) (goes, back bool) {
	if h.Passed || h.Key.Key == "" {
		return true, false
	}
	var stop relay.ID // lowest of the key that neither goes now nor is a released one in flight
	waits := false
	for _, id := range t.db.keys[h.Key] {
		other := t.db.held[id]
		if _, goesToo := t.due[id]; goesToo || !other.closes() {
			if h.State == relay.Retrying && goesToo && id < h.ID && other.closes() && other.head() {
				return false, true
			}
			continue
		}
		if stop == 0 && (!other.Sending || other.State != relay.Blocked) {
			stop = id
		}
		if h.State == relay.Retrying && id < h.ID {
			if other.head() {
				return false, true
			}
			waits = waits || t.isDue(other)
		}
	}
	switch h.State {
	case relay.Retrying:
		return !waits, false
	case relay.Blocked:
		return stop == 0 || stop > h.ID, true
	}
	return stop == 0, true
}

// namedKeys is how many keys Held names after acts of people: so few that both ways are taken.
const namedKeys = 2

// Closed implements relay.Store.
func (s *Memory) Closed(ctx context.Context, lease relay.Lease, q relay.ClosedQuery) (heads []relay.Head, err error) {
	err = s.do(ctx, OpClosed, func(db *Database) error {
		switch _, err := s.guard(lease); {
		case err == relay.ErrReborn:
			s.revive(lease)
			s.main.fresh = true
		case err != nil:
			return err
		}
		keys := q.Only
		if len(keys) == 0 {
			for key := range db.keys {
				if key.Compare(q.After) > 0 {
					keys = append(keys, key)
				}
			}
			slices.SortFunc(keys, relay.Key.Compare)
		}
		for _, key := range keys {
			if len(q.Only) == 0 && len(heads) == q.Limit {
				break
			}
			if h := db.closedBy(key); h != nil {
				heads = append(heads, relay.Head{Key: key, ID: h.ID, State: h.State, Due: !h.DueAt.IsZero() || h.Sending})
			}
		}
		s.synced(lease)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return heads, nil
}

// closedBy returns the retrying row of a key, else the lowest that keeps it closed, nil when it is open. A key without a head and without anything due or in flight gets its turn.
func (db *Database) closedBy(key relay.Key) *HeldRow {
	var first *HeldRow
	moves := false
	for _, id := range db.keys[key] {
		h := db.held[id]
		if !h.closes() {
			continue
		}
		if first == nil || first.State == relay.Blocked && h.State == relay.Retrying {
			first = h
		}
		moves = moves || h.head() || !h.DueAt.IsZero() || h.Sending
	}
	if first != nil && !moves {
		db.giveTurn(key, turnRows, nil)
		first = db.held[first.ID]
	}
	return first
}
