package relaytest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// HeldRow is a row of message_held.
type HeldRow struct {
	ID            relay.ID
	Key           relay.Key
	State         relay.HeldState
	Destination   string
	DueAt         time.Time // database time; zero = no turn by itself
	Sending       bool
	Passed        bool
	Attempts      int
	Failure       relay.Failure
	Fingerprint   int64
	FirstFailedAt time.Time
}

// closes says that the row is one of those that keep its key closed.
func (h *HeldRow) closes() bool { return h.Key.Key != "" && h.State != relay.Scheduled && !h.Passed }

func (h *HeldRow) head() bool { return h.State == relay.Retrying || h.State == relay.Dead }

// StoredReceipt is a row of receipts.
type StoredReceipt struct {
	relay.Receipt
	Epoch relay.Epoch
	At    time.Time // database time
}

// Settle implements relay.Store. Like the real one it commits asynchronously.
func (s *Memory) Settle(ctx context.Context, lease relay.Lease, st relay.Settlement) (settled relay.Settled, err error) {
	for _, h := range st.Hold {
		if h.Due == (h.State == relay.Dead || h.State == relay.Blocked) {
			broken(fmt.Sprintf("message %d is held as %s with Due = %v", h.ID, h.State, h.Due))
		}
	}
	if err := s.waitForPerson(ctx, st); err != nil {
		return settled, err
	}
	err = s.do(ctx, OpSettle, func(db *Database) error {
		if _, err := s.guard(lease); err != nil {
			return err
		}
		s.checkAcks(st)
		s.settleAcked(lease, st)
		s.unsynced = append(s.unsynced, relay.Settlement{Acked: slices.Clone(st.Acked), AckedHeld: slices.Clone(st.AckedHeld), Receipts: slices.Clone(st.Receipts)})
		if db.anyLocked(st) {
			settled.HeldWaits = true
			return nil
		}
		settled.StillHeld = s.settleHeld(st)
		return nil
	})
	if err != nil {
		return relay.Settled{}, err
	}
	if !settled.HeldWaits {
		s.db.mu.Lock()
		defer s.db.mu.Unlock()
		for _, h := range st.Hold {
			delete(s.handed, h.ID) // when a crash takes it back, the message can be taken again
		}
	}
	return settled, nil
}

// waitForPerson waits up to 200 ms while a person holds a row of the held part.
func (s *Memory) waitForPerson(ctx context.Context, st relay.Settlement) error {
	end := time.NewTimer(lockTimeout)
	defer end.Stop()
	for {
		s.db.mu.Lock()
		locked, changed := s.db.anyLocked(st), s.db.changed
		s.db.mu.Unlock()
		if !locked {
			return nil
		}
		select {
		case <-changed:
		case <-end.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// anyLocked says whether a person holds a row that the held part would write.
func (db *Database) anyLocked(st relay.Settlement) bool {
	if len(db.locked) == 0 {
		return false
	}
	for _, h := range st.Hold {
		if _, yes := db.locked[h.ID]; yes {
			return true
		}
		if r := db.log[h.ID]; r != nil {
			if key, ok := r.m.OrderKey(); ok && h.State != relay.Blocked && db.keyLocked(key) {
				return true
			}
		}
	}
	return slices.ContainsFunc(st.Release, db.keyLocked)
}

func (db *Database) keyLocked(key relay.Key) bool {
	return slices.ContainsFunc(db.keys[key], func(id relay.ID) bool { _, yes := db.locked[id]; return yes })
}

// claimedBefore says that an ownership before this one may have sent the message, whose ack it left behind.
func (db *Database) claimedBefore(id relay.ID) bool {
	_, committed := db.log[id]
	return committed && id <= db.claimed
}

func (s *Memory) checkAcks(st relay.Settlement) {
	for _, run := range st.Acked {
		if run.Lo > run.Hi {
			broken(fmt.Sprintf("run %d to %d", run.Lo, run.Hi))
		}
		for id := run.Lo; id <= run.Hi; id++ {
			if s.claimed[id] || run.Lo == run.Hi && s.db.claimedBefore(id) {
				continue
			}
			if _, read := s.seen[id]; read {
				broken(fmt.Sprintf("message %d is settled as acked and was never claimed", id))
			}
			broken(fmt.Sprintf("run %d to %d goes over message %d, which was never read: a row that commits there would be lost", run.Lo, run.Hi, id))
		}
	}
	for _, id := range st.AckedHeld {
		if !s.claimed[id] {
			broken(fmt.Sprintf("held message %d is settled as acked and was never taken", id))
		}
	}
	for _, r := range st.Receipts {
		if len(r.IDs) == 0 || !slices.IsSorted(r.IDs) || r.IDs[len(r.IDs)-1]-r.IDs[0] >= relay.MaxReceiptSpan {
			broken(fmt.Sprintf("receipt %d: ids not ascending, none, or %d wide and more", r.Seq, relay.MaxReceiptSpan))
		}
	}
}

// settleAcked removes what was acked and writes the receipts. It may be repeated.
func (s *Memory) settleAcked(lease relay.Lease, st relay.Settlement) {
	db := s.db
	for _, run := range st.Acked {
		if gone := db.dropPending(run.Lo, run.Hi); len(gone) > 0 {
			db.wrote(func() { db.addPending(gone...) })
		}
	}
	for _, id := range st.AckedHeld {
		if db.held[id] != nil {
			db.setHeld(id, nil)
		}
	}
	for _, r := range st.Receipts {
		key := receiptKey{r.IDs[len(r.IDs)-1], lease.Epoch, r.Seq}
		if _, there := db.receipted[key]; there {
			continue
		}
		r.IDs = slices.Clone(r.IDs)
		db.receipted[key] = struct{}{}
		db.receipts = append(db.receipts, StoredReceipt{r, lease.Epoch, db.now()})
		db.wrote(func() {
			delete(db.receipted, key)
			db.receipts = slices.DeleteFunc(db.receipts, func(x StoredReceipt) bool {
				return x.Epoch == key.epoch && x.Seq == key.seq && x.IDs[len(x.IDs)-1] == key.hi
			})
		})
	}
}

// settleHeld moves messages to held, takes turns back and gives turns; it returns the keys of Release that still have rows.
func (s *Memory) settleHeld(st relay.Settlement) (more []relay.Key) {
	db, now := s.db, s.db.now()
	mine, taken := map[relay.ID]bool{}, map[relay.ID]bool{}
	low := map[relay.Key]relay.ID{} // per key the lowest that went back as a head
	for _, h := range st.Hold {
		_, waits := slices.BinarySearch(db.pending, h.ID)
		was := db.held[h.ID]
		if !waits && was == nil {
			continue // settled before: a repeat
		}
		mine[h.ID], taken[h.ID] = true, was != nil && was.Sending
		if waits {
			db.dropPending(h.ID, h.ID)
			db.wrote(func() { db.addPending(h.ID) })
		}
		m := db.log[h.ID].m
		next := HeldRow{ID: h.ID, Key: relay.Key{Topic: m.Topic, Key: m.Key}, State: h.State, Destination: h.Destination, Attempts: h.Attempts,
			Fingerprint: h.Fingerprint, Passed: h.Passed}
		if h.Failure != nil {
			next.Failure, next.FirstFailedAt = *h.Failure, now
		}
		if was != nil {
			next.Passed = next.Passed || was.Passed
			if !was.FirstFailedAt.IsZero() {
				next.FirstFailedAt = was.FirstFailedAt
			}
		}
		switch {
		case h.State == relay.Scheduled:
			next.DueAt = m.DeliverAfter
		case h.Due:
			next.DueAt = now.Add(h.Delay)
		}
		db.setHeld(h.ID, &next)
		if next.head() && !h.Passed && next.Key.Key != "" && (low[next.Key] == 0 || h.ID < low[next.Key]) {
			low[next.Key] = h.ID
		}
	}
	for key, head := range low { // what was released behind it waits again
		for _, id := range db.keys[key] {
			if h := db.held[id]; id > head && h.State == relay.Blocked && !h.Passed && !h.DueAt.IsZero() && !h.Sending && !mine[id] {
				next := *h
				next.DueAt = time.Time{}
				db.setHeld(id, &next)
			}
		}
	}
	for _, key := range st.Release {
		for id := range mine {
			if h := db.held[id]; h.Key == key && h.closes() && (h.State != relay.Blocked || taken[id]) {
				broken(fmt.Sprintf("key %q is released and held in one settlement", key))
			}
		}
		if db.giveTurn(key, turnRows, mine) {
			more = append(more, key)
		}
	}
	for _, a := range st.Attempts {
		db.attempts = append(db.attempts, a)
		n := len(db.attempts)
		db.wrote(func() { db.attempts = db.attempts[:n-1] })
	}
	for key := range low {
		db.checkHead(key)
	}
	if db.strict {
		s.checkBlocked(st)
	}
	return more
}

// checkBlocked is Strict. Earlier messages that this store has never read came late (a plain INSERT); those that wait for a time take their place when it
// comes; those with other headers may have another route.
func (s *Memory) checkBlocked(st relay.Settlement) {
	db := s.db
	for _, h := range st.Hold {
		if h.State != relay.Blocked || h.Passed {
			continue
		}
		mine := &db.log[h.ID].m
		if !mine.DeliverAfter.IsZero() {
			continue
		}
		for _, id := range db.pending {
			if id >= h.ID {
				break
			}
			m := &db.log[id].m
			if m.Topic == mine.Topic && m.Key == mine.Key && s.claimed[id] && m.DeliverAfter.IsZero() && slices.Equal(m.Headers, mine.Headers) {
				broken(fmt.Sprintf("message %d is held as blocked while %d of its key is pending", h.ID, id))
			}
		}
	}
}

// giveTurn makes the next blocked messages of a key due, up to the first head, and says whether the key has rows at all; it does not see unseen.
func (db *Database) giveTurn(key relay.Key, most int, unseen map[relay.ID]bool) (any bool) {
	n := 0
	for _, id := range db.keys[key] {
		h := db.held[id]
		if !h.closes() || unseen[id] {
			continue
		}
		any = true
		if h.State != relay.Blocked || n == most {
			break
		}
		n++
		if h.DueAt.IsZero() {
			next := *h
			next.DueAt = db.now()
			db.setHeld(id, &next)
		}
	}
	return any
}

// checkHead is the unique index message_held_head.
func (db *Database) checkHead(key relay.Key) {
	var heads []relay.ID
	for _, id := range db.keys[key] {
		if h := db.held[id]; h.State == relay.Retrying && !h.Passed {
			heads = append(heads, id)
		}
	}
	if len(heads) > 1 {
		broken(fmt.Sprintf("messages %v of key %q are all retrying: with their own jitter they would overtake each other (message_held_head)", heads, key))
	}
}
