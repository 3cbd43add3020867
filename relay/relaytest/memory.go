package relaytest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Memory is a relay.Store, relay.Waker and relay.Pauser on a Database: what one relay process has of it. Its faults are its own, as on a network of its own.
//
// Beyond the contract it checks the engine: two calls of one method at once, a run over an id that was never read, an ack of a message that was never claimed,
// a key released and held in one settlement, and a second head of a key panic.
type Memory struct {
	Faults

	db *Database

	mu      sync.Mutex
	running map[Op]bool

	// the rest is guarded by db.mu
	granted  map[relay.Epoch]int // server history on which the epoch was granted
	main     reader
	seen     map[relay.ID]relay.Incarnation // read, in which server incarnation
	claimed  map[relay.ID]bool              // claimed or taken by this process
	unsynced []relay.Settlement             // acks that no synchronous commit has followed yet: settled again when the server is reborn
	acts     int                            // of people, that were seen
	handed   map[relay.ID]bool              // being sent, and given to the caller
}

var (
	_ relay.Store  = (*Memory)(nil)
	_ relay.Waker  = (*Memory)(nil)
	_ relay.Pauser = (*Memory)(nil)
)

// NewMemory returns a store for one relay process.
func NewMemory(db *Database) *Memory {
	return &Memory{db: db, running: map[Op]bool{}, granted: map[relay.Epoch]int{}, seen: map[relay.ID]relay.Incarnation{}, claimed: map[relay.ID]bool{},
		handed: map[relay.ID]bool{}}
}

// Store returns a store for one more relay process on db.
func (db *Database) Store() *Memory { return NewMemory(db) }

// do runs one call under the lock of the database, with the faults of op around it.
func (s *Memory) do(ctx context.Context, op Op, call func(db *Database) error) error {
	s.mu.Lock()
	if s.running[op] {
		s.mu.Unlock()
		broken("two calls of Store." + string(op) + " at once")
	}
	s.running[op] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running[op] = false
		s.mu.Unlock()
	}()
	lost, err := s.enter(ctx, op)
	if err != nil {
		return err
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if s.db.down {
		return fmt.Errorf("%s: %w", op, ErrDown)
	}
	if err := call(s.db); err != nil {
		return err
	}
	return lost
}

// fence is the first check of every write: the same server history, the same epoch.
func (s *Memory) fence(lease relay.Lease) error {
	here, ok := s.granted[lease.Epoch]
	if !ok {
		broken(fmt.Sprintf("epoch %d was never granted to this store", lease.Epoch))
	}
	if here != s.db.here {
		return relay.ErrMoved
	}
	if s.db.owner.epoch != lease.Epoch {
		return relay.ErrFenced
	}
	return nil
}

// guard is fence and the server incarnation.
func (s *Memory) guard(lease relay.Lease) (relay.Incarnation, error) {
	if err := s.fence(lease); err != nil {
		return relay.Incarnation{}, err
	}
	in, ok := s.db.alive[lease.Epoch]
	if !ok {
		return in, relay.ErrReborn
	}
	return in, nil
}

// synced follows every synchronous commit of this store. What a crash took back is not flushed by it: that waits for the revival.
func (s *Memory) synced(lease relay.Lease) {
	s.db.flush()
	if _, err := s.guard(lease); err == nil {
		s.unsynced = nil
	}
}

// Acquire implements relay.Store.
func (s *Memory) Acquire(ctx context.Context, terms relay.Terms) (lease relay.Lease, err error) {
	asked := time.Now()
	err = s.do(ctx, OpAcquire, func(db *Database) error {
		if terms.Owner == "" || terms.Lease <= 0 {
			broken("Acquire without owner or lease")
		}
		now := db.now()
		if newest := db.generations[len(db.generations)-1]; newest.here != db.here && db.copied {
			return &relay.RefusedError{Text: "this database is a copy of the one on which the outbox was created: its messages may already have been sent " +
				"elsewhere; decide with waybill adopt --moved or --copied"}
		}
		if !db.owner.until.Before(now) {
			return relay.ErrOwned
		}
		was, before := db.owner, slices.Clone(db.generations)
		o := was
		o.epoch++
		if before[len(before)-1].here != db.here {
			db.generations = append(db.generations, generation{relay.Generation{From: db.claimed + 1, UUID: newUUID()}, db.here})
			o.epoch += 1_000_000 // above whatever the lost tail granted
		}
		o.owner, o.released, o.until, o.here = terms.Owner, false, now.Add(terms.Lease), db.here
		if !was.released && o.quiet.Before(now.Add(terms.Quarantine)) {
			o.quiet = now.Add(terms.Quarantine)
		}
		db.owner = o
		db.wrote(func() { db.owner, db.generations = was, before })
		clear(db.alive)
		db.alive[o.epoch] = random16()
		for id, h := range db.held {
			next := *h
			next.Sending = false
			if next.Destination != "" && !slices.Contains(terms.Configured, next.Destination) {
				next.Destination = ""
			}
			if next != *h {
				db.setHeld(id, &next)
			}
		}
		db.asleep = false
		s.granted[o.epoch] = db.here
		s.main, s.acts = reader{fresh: true}, len(db.acts)
		db.flush()
		s.unsynced = nil // of an ownership before this one
		lease = relay.Lease{
			Epoch: o.epoch, Owner: o.owner, Asked: asked, Term: terms.Lease, Takeover: !was.released, Claimed: db.claimed,
		}
		if o.quiet.After(now) {
			lease.Quiet = o.quiet.Sub(now) + time.Since(asked)
		}
		for _, g := range db.generations {
			lease.Generations = append(lease.Generations, g.Generation)
		}
		return nil
	})
	if err != nil {
		return relay.Lease{}, err
	}
	return lease, nil
}

// Renew implements relay.Store. It prolongs by the term that Acquire granted.
func (s *Memory) Renew(ctx context.Context, lease relay.Lease, progress relay.Progress) (relay.Lease, error) {
	next := lease
	next.Asked = time.Now()
	err := s.do(ctx, OpRenew, func(db *Database) error {
		if err := s.fence(lease); err != nil {
			return err
		}
		was := db.owner
		db.owner.until, db.owner.progress = db.now().Add(lease.Term), progress
		db.wrote(func() { db.owner = was })
		s.synced(lease)
		next.Quiet = max(0, db.owner.quiet.Sub(db.now()))
		return nil
	})
	if err != nil {
		return relay.Lease{}, err
	}
	return next, nil
}

// Release implements relay.Store.
func (s *Memory) Release(ctx context.Context, lease relay.Lease) error {
	return s.do(ctx, OpRelease, func(db *Database) error {
		if err := s.fence(lease); err == relay.ErrFenced || db.owner.epoch != lease.Epoch || db.owner.owner != lease.Owner {
			return relay.ErrFenced
		} // after a promotion what still names this owner is given back
		was := db.owner
		db.owner.until, db.owner.released = time.Time{}, true
		db.wrote(func() { db.owner = was })
		s.synced(lease)
		return nil
	})
}

// Fetch implements relay.Store.
func (s *Memory) Fetch(ctx context.Context, lease relay.Lease, ids []relay.ID) (messages []*relay.Message, err error) {
	err = s.do(ctx, OpFetch, func(db *Database) error {
		if here, ok := s.granted[lease.Epoch]; ok && here != db.here {
			return relay.ErrMoved
		}
		for _, id := range ids {
			if db.log[id] == nil {
				return fmt.Errorf("fetch: message %d has no row in message_log: somebody deleted it by hand", id)
			}
			m := db.message(id)
			messages = append(messages, &m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return messages, nil
}

// Claim implements relay.Store.
func (s *Memory) Claim(ctx context.Context, lease relay.Lease, upTo relay.ID, in relay.Incarnation) error {
	return s.do(ctx, OpClaim, func(db *Database) error {
		now, err := s.guard(lease)
		if err != nil {
			return err
		}
		if now != in {
			return relay.ErrReborn
		}
		if upTo > db.claimed {
			was := db.claimed
			db.claimed = upTo
			db.wrote(func() { db.claimed = was })
		}
		s.synced(lease)
		for id, read := range s.seen {
			if read == in {
				s.claimed[id] = true
				delete(s.seen, id)
			}
		}
		return nil
	})
}

// Wake implements relay.Waker.
func (s *Memory) Wake(ctx context.Context) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ch := make(chan struct{}, 1)
	s.db.mu.Lock()
	s.db.wakers[ch] = struct{}{}
	s.db.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.db.mu.Lock()
		defer s.db.mu.Unlock()
		delete(s.db.wakers, ch)
	})
	return ch, nil
}

// Arm implements relay.Waker.
func (s *Memory) Arm(ctx context.Context, asleep bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if s.db.down {
		return ErrDown
	}
	s.db.asleep = asleep
	return nil
}
