package relaytest

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Lock holds rows of message_held as a psql session would, until the returned function is called. Acts wait 500 ms for it, settlements 200 ms.
func (db *Database) Lock(ids ...relay.ID) (unlock func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, id := range ids {
		if db.held[id] == nil {
			broken("Lock of message " + id.String() + ", which is not held")
		}
		db.locked[id] = struct{}{}
	}
	return func() {
		db.mu.Lock()
		defer db.mu.Unlock()
		for _, id := range ids {
			delete(db.locked, id)
		}
		db.signal()
	}
}

// act runs a person's act on the rows that exist and are not being sent, in id order, and counts it when it changed anything.
func (db *Database) act(ids []relay.ID, one func(id relay.ID, h *HeldRow) bool) (changed int, err error) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	end := time.NewTimer(actTimeout)
	defer end.Stop()
	for {
		db.mu.Lock()
		if db.down {
			db.mu.Unlock()
			return 0, ErrDown
		}
		if !slices.ContainsFunc(ids, func(id relay.ID) bool { _, yes := db.locked[id]; return yes }) {
			break
		}
		wait := db.changed
		db.mu.Unlock()
		select {
		case <-wait:
		case <-end.C:
			return 0, ErrBusy
		}
	}
	defer db.mu.Unlock()
	var keys []relay.Key
	for _, id := range ids {
		h := db.held[id]
		if h != nil && h.Sending {
			continue
		}
		if one(id, h) {
			changed++
			if m := db.log[id].m; m.Key != "" {
				keys = append(keys, relay.Key{Topic: m.Topic, Key: m.Key})
			}
		}
	}
	db.acts = append(db.acts, keys)
	db.flush()
	db.notify()
	return changed, nil
}

// Retry is a person's act: dead messages get their turn again with no attempts counted, retrying ones are due now, discarded ones come back outside the order.
func (db *Database) Retry(ids ...relay.ID) (changed int, err error) {
	return db.act(ids, func(id relay.ID, h *HeldRow) bool {
		if h == nil {
			if _, gone := db.discarded[id]; !gone {
				return false
			}
			delete(db.discarded, id)
			db.wrote(func() { db.discarded[id] = struct{}{} })
			m := db.log[id].m
			db.setHeld(id, &HeldRow{ID: id, Key: relay.Key{Topic: m.Topic, Key: m.Key}, State: relay.Retrying, DueAt: db.now(), Passed: true})
			return true
		}
		next := *h
		switch h.State {
		case relay.Retrying:
			next.DueAt = db.now()
		case relay.Dead:
			next.State, next.Attempts, next.DueAt, next.FirstFailedAt = relay.Retrying, 0, db.now(), time.Time{}
			if h.closes() && slices.ContainsFunc(db.keys[h.Key], func(other relay.ID) bool {
				o := db.held[other]
				return other != id && o.closes() && (other < id || o.State == relay.Retrying)
			}) {
				next.State, next.DueAt = relay.Blocked, time.Time{}
			}
		default:
			return false
		}
		db.setHeld(id, &next)
		return true
	})
}

// Skip is a person's act: dead messages stay dead and their keys go on without them.
func (db *Database) Skip(ids ...relay.ID) (changed int, err error) {
	return db.act(ids, func(id relay.ID, h *HeldRow) bool {
		if h == nil || h.State != relay.Dead || h.Passed || h.Key.Key == "" {
			return false
		}
		next := *h
		next.Passed = true
		db.setHeld(id, &next)
		db.giveTurn(h.Key, 1, nil)
		return true
	})
}

// Discard is a person's act: held messages are given up for good.
func (db *Database) Discard(ids ...relay.ID) (changed int, err error) {
	return db.act(ids, func(id relay.ID, h *HeldRow) bool {
		if h == nil {
			return false
		}
		db.setHeld(id, nil)
		db.discarded[id] = struct{}{}
		db.wrote(func() { delete(db.discarded, id) })
		db.giveTurn(h.Key, 1, nil)
		return true
	})
}

// Replay is a person's act: sent messages are sent again, outside the order.
func (db *Database) Replay(ids ...relay.ID) (changed int, err error) {
	return db.act(ids, func(id relay.ID, h *HeldRow) bool {
		_, waits := slices.BinarySearch(db.pending, id)
		_, gone := db.discarded[id]
		if h != nil || waits || gone || db.log[id] == nil {
			return false
		}
		m := db.log[id].m
		db.setHeld(id, &HeldRow{ID: id, Key: relay.Key{Topic: m.Topic, Key: m.Key}, State: relay.Scheduled, DueAt: db.now(), Passed: true})
		return true
	})
}

// Pause is a person's act: a destination, or all with an empty name, gets nothing any more.
func (db *Database) Pause(destination, reason string) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if _, is := db.paused[destination]; is || db.down {
		return ErrDown
	}
	if db.paused == nil {
		db.paused = map[string]relay.PausedDestination{}
	}
	db.paused[destination] = relay.PausedDestination{Destination: destination, At: db.now(), Actor: "a", Reason: reason}
	db.acts = append(db.acts, nil)
	db.flush()
	db.notify()
	return nil
}

// Resume takes a pause back.
func (db *Database) Resume(destination string) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if _, is := db.paused[destination]; !is || db.down {
		return ErrDown
	}
	delete(db.paused, destination)
	db.acts = append(db.acts, nil)
	db.flush()
	db.notify()
	return nil
}

// Paused implements relay.Pauser.
func (s *Memory) Paused(ctx context.Context, lease relay.Lease) (paused []relay.PausedDestination, err error) {
	err = s.do(ctx, OpPaused, func(db *Database) error {
		if err := s.fence(lease); err != nil {
			return err
		}
		paused = slices.Collect(maps.Values(db.paused))
		return nil
	})
	return paused, err
}
