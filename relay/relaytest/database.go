package relaytest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Errors of the database in memory.
var (
	// ErrDown is what every call gets while the database is down, and what an open transaction gets that a crash ended.
	ErrDown = errors.New("relaytest: the database is down")
	// ErrBusy is what a person's act gets when somebody else holds one of its rows for longer than 500 ms.
	ErrBusy = errors.New("relaytest: busy: nothing was changed, try again")
)

const (
	walDelay    = 600 * time.Millisecond // an asynchronous commit is durable at the latest after it: 3 × wal_writer_delay
	walKept     = 10 * time.Second       // how far back Promote can take the history
	seqAhead    = 32                     // ids that the sequence logs ahead: the gap that a crash leaves
	lockTimeout = 200 * time.Millisecond // how long settle waits for a row that a person holds
	actTimeout  = 500 * time.Millisecond // how long an act waits for one
	turnRows    = 500                    // most blocked messages that get their turn at once
)

// Database is one outbox in memory: tables, transactions, write-ahead log, clock, crashes. Any number of Memory stores (one for each relay) and writers use
// it at once. All methods are safe for concurrent use.
type Database struct {
	mu sync.Mutex

	down    bool
	offset  time.Duration // database clock minus ours
	here    int           // server history: changed by Promote
	copied  bool          // system identifier changed
	started int           // server starts, so that a transaction of an earlier life is recognised

	seq, logged relay.ID // last id drawn; id up to which the sequence has been logged
	xid         int64
	open        map[*Tx]struct{}
	keyLocks    map[relay.Key]*Tx
	changed     chan struct{} // closed and replaced when a key lock or a row lock is given back

	log       map[relay.ID]*row
	ids       map[string]relay.ID // own message ids
	committed []relay.ID          // in commit order
	aborted   []relay.Message
	pending   []relay.ID // ascending
	held      map[relay.ID]*HeldRow
	keys      map[relay.Key][]relay.ID // ids in held by key, ascending
	locked    map[relay.ID]struct{}
	discarded map[relay.ID]struct{}
	passed    map[relay.ID]struct{} // ever let pass by a person or by on_dead: skip
	receipts  []StoredReceipt
	receipted map[receiptKey]struct{}
	attempts  []relay.Attempt
	acts      [][]relay.Key // of people: the keys of the messages that each touched
	paused    map[string]relay.PausedDestination

	owner       ownerRow
	alive       map[relay.Epoch]relay.Incarnation
	claimed     relay.ID
	generations []generation
	asleep      bool
	wakers      map[chan struct{}]struct{}

	strict bool // Strict

	wal     []entry
	flushed int // entries of wal that are durable
}

type row struct{ m relay.Message }

type entry struct {
	at   time.Time
	undo func()
}

type ownerRow struct {
	epoch    relay.Epoch
	owner    string
	until    time.Time // database time
	released bool
	quiet    time.Time
	progress relay.Progress
	here     int // server history on which the epoch was granted
}

type generation struct {
	relay.Generation
	here int
}

type receiptKey struct {
	hi    relay.ID
	epoch relay.Epoch
	seq   int64
}

// NewDatabase returns an empty outbox that runs.
func NewDatabase() *Database {
	db := &Database{
		open: map[*Tx]struct{}{}, keyLocks: map[relay.Key]*Tx{}, changed: make(chan struct{}),
		log: map[relay.ID]*row{}, ids: map[string]relay.ID{}, held: map[relay.ID]*HeldRow{}, keys: map[relay.Key][]relay.ID{},
		locked: map[relay.ID]struct{}{}, discarded: map[relay.ID]struct{}{}, passed: map[relay.ID]struct{}{}, receipted: map[receiptKey]struct{}{},
		alive: map[relay.Epoch]relay.Incarnation{}, wakers: map[chan struct{}]struct{}{},
		owner: ownerRow{released: true},
	}
	db.generations = []generation{{Generation: relay.Generation{From: 0, UUID: newUUID()}}}
	return db
}

// Strict makes Settle stop the test when a relay holds a message as blocked while an earlier one of its key, which it has read, is pending: the
// next owner would give the later one its turn first.
func (db *Database) Strict() *Database {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.strict = true
	return db
}

func newUUID() string {
	b := random16()
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func random16() (b [16]byte) {
	_, _ = rand.Read(b[:]) // never fails
	return b
}

func (db *Database) now() time.Time { return time.Now().Add(db.offset) }

// Jump moves the database clock by d, which may be negative.
func (db *Database) Jump(d time.Duration) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.offset += d
}

// wrote remembers how to take a change back. Call it under the lock, after the change.
func (db *Database) wrote(undo func()) {
	now := time.Now()
	old := 0
	for old < len(db.wal) && now.Sub(db.wal[old].at) > walKept {
		old++
	}
	if old > 0 {
		db.wal = slices.Delete(db.wal, 0, old)
		db.flushed = max(0, db.flushed-old)
	}
	db.wal = append(db.wal, entry{now, undo})
}

// flush makes everything written so far durable, as a synchronous commit does: the log is flushed in order.
func (db *Database) flush() { db.flushed = len(db.wal) }

// takeBack undoes the entries from keep on, latest first.
func (db *Database) takeBack(keep int) {
	for i := len(db.wal) - 1; i >= keep; i-- {
		db.wal[i].undo()
	}
	db.wal = db.wal[:keep]
	db.flushed = min(db.flushed, keep)
}

// Down stops the server in an orderly way: calls fail with ErrDown and open transactions end, but nothing is taken back. Up starts it again.
func (db *Database) Down() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.flush()
	db.down = true
	db.endTransactions()
}

// Up starts the server after Down.
func (db *Database) Up() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.down = false
}

// Crash kills the server and starts it again: asynchronous commits of the last 0.6 s that nothing flushed since are gone, open transactions end, a new server
// incarnation begins, ids may be drawn again that nobody but lost transactions has used.
func (db *Database) Crash() {
	db.mu.Lock()
	defer db.mu.Unlock()
	now := time.Now()
	keep := db.flushed
	for keep < len(db.wal) && now.Sub(db.wal[keep].at) > walDelay {
		keep++
	}
	db.takeBack(keep)
	db.restart()
}

// Promote makes a standby the primary: another server history. What was committed in the last `lost` is gone, flushed or not (at most 10 s; 0 = a synchronous
// standby, which loses only what a crash loses).
func (db *Database) Promote(lost time.Duration) {
	db.mu.Lock()
	defer db.mu.Unlock()
	now := time.Now()
	keep := 0
	for keep < len(db.wal) && now.Sub(db.wal[keep].at) >= lost && (keep < db.flushed || now.Sub(db.wal[keep].at) > walDelay) {
		keep++
	}
	if lost == 0 {
		keep = db.flushed
	}
	db.takeBack(keep)
	db.here++
	db.restart()
}

// Copy makes the database a copy of itself on another server: Acquire is refused until a person decides.
func (db *Database) Copy() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.here++
	db.copied = true
	db.restart()
}

func (db *Database) restart() {
	db.endTransactions()
	db.started++
	db.seq = db.logged
	clear(db.alive)
	db.flush()
}

func (db *Database) endTransactions() {
	for tx := range db.open {
		tx.end(ErrDown)
	}
	clear(db.locked)
	db.signal()
}

// signal wakes everybody who waits for a lock.
func (db *Database) signal() {
	close(db.changed)
	db.changed = make(chan struct{})
}

// nextID draws an id; like the real sequence it is logged ahead and never taken back by a rollback.
func (db *Database) nextID() relay.ID {
	db.seq++
	if db.seq > db.logged {
		was := db.logged
		db.logged = db.seq + seqAhead
		db.wrote(func() { db.logged = was })
	}
	return db.seq
}

func (db *Database) addPending(ids ...relay.ID) {
	for _, id := range ids {
		if n := len(db.pending); n == 0 || db.pending[n-1] < id {
			db.pending = append(db.pending, id)
			continue
		}
		if i, found := slices.BinarySearch(db.pending, id); !found {
			db.pending = slices.Insert(db.pending, i, id)
		}
	}
}

// dropPending removes the ids from lo to hi and returns those that were there.
func (db *Database) dropPending(lo, hi relay.ID) []relay.ID {
	i, _ := slices.BinarySearch(db.pending, lo)
	j, _ := slices.BinarySearch(db.pending, hi+1)
	gone := slices.Clone(db.pending[i:j])
	db.pending = slices.Delete(db.pending, i, j)
	return gone
}

// setHeld replaces a held row; nil removes it. Rows are never changed in place, so that the old one can come back.
func (db *Database) setHeld(id relay.ID, to *HeldRow) {
	was := db.held[id]
	db.putHeld(id, to)
	db.wrote(func() { db.putHeld(id, was) })
}

func (db *Database) putHeld(id relay.ID, to *HeldRow) {
	was := db.held[id]
	if to != nil {
		db.held[id] = to
		if to.Passed {
			db.passed[id] = struct{}{}
		}
	} else {
		delete(db.held, id)
	}
	if (was == nil) == (to == nil) {
		return
	}
	key := relay.Key{}
	if to != nil {
		key = to.Key
	} else {
		key = was.Key
	}
	if key.Key == "" {
		return
	}
	list := db.keys[key]
	i, found := slices.BinarySearch(list, id)
	switch {
	case to != nil && !found:
		db.keys[key] = slices.Insert(list, i, id)
	case to == nil && found && len(list) == 1:
		delete(db.keys, key)
	case to == nil && found:
		db.keys[key] = slices.Delete(list, i, i+1)
	}
}

// generationOf returns the uuid that prefixes the message id of id.
func (db *Database) generationOf(id relay.ID) string {
	uuid := db.generations[0].UUID
	for _, g := range db.generations[1:] {
		if id >= g.From {
			uuid = g.UUID
		}
	}
	return uuid
}

func (db *Database) message(id relay.ID) relay.Message {
	m := db.log[id].m
	if m.MessageID == "" {
		m.MessageID = db.generationOf(id) + "-" + id.String()
	}
	return m
}
