package relaytest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Outbox is an empty outbox under test, as seen from its database.
type Outbox interface {
	Store() relay.Store // of one more relay process; closed with the test
	Begin() Transaction

	Pending() []relay.ID // ascending
	HeldRows() []HeldRow // by id
	Receipts() []StoredReceipt

	Retry(ids ...relay.ID) (changed int, err error)
	Skip(ids ...relay.ID) (changed int, err error)
	Discard(ids ...relay.ID) (changed int, err error)
	Lock(ids ...relay.ID) (unlock func()) // hold rows of message_held as a psql session would
	Pause(destination, reason string) error
	Resume(destination string) error
}

// Transaction is a business transaction.
type Transaction interface {
	Write(m relay.Message) relay.ID  // outbox.publish: takes the lock of the key first
	Insert(m relay.Message) relay.ID // a plain INSERT
	Touch()                          // write something else
	Commit() error                   // synchronous
	CommitAsync() error              // synchronous_commit=off
	Rollback()
}

// Crasher is an Outbox whose server can be killed. Crash returns when it runs again; what asynchronous commits lost is up to it.
type Crasher interface{ Crash() }

// Promoter is an Outbox that can move to another server history.
type Promoter interface{ Promote() }

// StoreTraits declare what an Outbox of the suite cannot show. Cases that need it are named in the log, not skipped in silence.
type StoreTraits struct {
	Crashes  bool // it is a Crasher
	Promotes bool // it is a Promoter
}

// TestStore holds a relay.Store, which is a relay.Pauser too, to the contract of the ports. open makes an empty outbox for one case. It runs in real time and waits at most some seconds.
func TestStore(t *testing.T, open func(t *testing.T) Outbox, traits StoreTraits) {
	cases := map[string]func(*storeCase){}
	for _, group := range []map[string]func(*storeCase){ownerCases, readCases, settleCases, heldCases, loadCases} {
		maps.Copy(cases, group)
	}
	if traits.Crashes {
		maps.Copy(cases, crashCases)
	} else {
		t.Logf("declared: cannot crash: %v not run", slices.Sorted(maps.Keys(crashCases)))
	}
	if traits.Promotes {
		maps.Copy(cases, promoteCases)
	} else {
		t.Logf("declared: cannot be promoted: %v not run", slices.Sorted(maps.Keys(promoteCases)))
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			out := open(t)
			cases[name](&storeCase{t: t, out: out, store: out.Store()})
		})
	}
}

// patience bounds every wait of the suites.
const patience = 20 * time.Second

// storeCase is one case: an outbox and the store of one relay, with helpers that end the case on an error.
type storeCase struct {
	t     *testing.T
	out   Outbox
	store relay.Store
	lease relay.Lease
	after relay.ID
}

var terms = relay.Terms{Owner: "a", Lease: 30 * time.Second, Quarantine: 10 * time.Second, Configured: []string{"k", "other"}}

func (c *storeCase) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *storeCase) fatal(err error, what string) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

func (c *storeCase) wants(err, want error, what string) {
	c.t.Helper()
	if !errors.Is(err, want) {
		c.t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func (c *storeCase) equal(got, want any, what string) {
	c.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// await polls a condition: there is no event to wait on that every store has.
func (c *storeCase) await(what string, done func() bool) {
	c.t.Helper()
	end := time.Now().Add(patience)
	for !done() {
		if time.Now().After(end) {
			c.t.Fatalf("waited %v for: %s", patience, what)
		}
		_ = sleep(context.Background(), 5*time.Millisecond)
	}
}

// own acquires the outbox for 30 s.
func (c *storeCase) own() *storeCase {
	c.t.Helper()
	lease, err := c.store.Acquire(c.ctx(), terms)
	c.fatal(err, "acquire")
	c.lease = lease
	return c
}

// send writes one message per word "key" of topic t, each in a transaction of its own, and returns their ids.
func (c *storeCase) send(keys ...string) (ids []relay.ID) {
	c.t.Helper()
	for _, key := range keys {
		tx := c.out.Begin()
		ids = append(ids, tx.Write(relay.Message{Topic: "t", Key: key, Payload: []byte("x")}))
		c.fatal(tx.Commit(), "commit")
	}
	return ids
}

func (c *storeCase) readPage(after relay.ID, limit relay.ReadLimit) relay.Page {
	c.t.Helper()
	if limit.Rows == 0 {
		limit.Rows = 1000
	}
	if limit.InlineBytes == 0 {
		limit.InlineBytes, limit.PageBytes = 64<<10, 8<<20
	}
	page, err := c.store.Read(c.ctx(), c.lease, after, limit)
	c.fatal(err, "read")
	if !limit.CatchUp {
		c.after = page.After
	}
	return page
}

// readAll reads from `after` until a page is empty, and claims nothing.
func (c *storeCase) readAll(after relay.ID) (ids []relay.ID, last relay.Page) {
	c.t.Helper()
	for {
		last = c.readPage(after, relay.ReadLimit{})
		ids = append(ids, idsOf(last.Messages)...)
		if after = last.After; len(last.Messages) == 0 && !last.More {
			return ids, last
		}
	}
}

func idsOf(messages []relay.Message) (ids []relay.ID) {
	for i := range messages {
		ids = append(ids, messages[i].ID)
	}
	return ids
}

// claimAll reads everything from 0 and claims it.
func (c *storeCase) claimAll() []relay.ID {
	c.t.Helper()
	ids, last := c.readAll(0)
	var top relay.ID
	for _, id := range ids {
		top = max(top, id)
	}
	c.fatal(c.store.Claim(c.ctx(), c.lease, top, last.Incarnation), "claim")
	return ids
}

func (c *storeCase) settle(s relay.Settlement) relay.Settled {
	c.t.Helper()
	settled, err := c.store.Settle(c.ctx(), c.lease, s)
	c.fatal(err, "settle")
	return settled
}

var failed = relay.Failure{Outcome: relay.Unknown, Class: relay.ClassTimeout, Code: "test/TIMEOUT", Text: "no answer"}

func retrying(id relay.ID, delay time.Duration) relay.Hold {
	return relay.Hold{ID: id, State: relay.Retrying, Delay: delay, Due: true, Attempts: 1, Destination: "k", Failure: &failed}
}

func blocked(id relay.ID) relay.Hold {
	return relay.Hold{ID: id, State: relay.Blocked, Destination: "k"}
}

func dead(id relay.ID) relay.Hold {
	return relay.Hold{ID: id, State: relay.Dead, Attempts: 1, Destination: "k", Failure: &failed}
}

func (c *storeCase) take() relay.Taken {
	c.t.Helper()
	taken, err := c.store.Held(c.ctx(), c.lease, []string{"k", ""}, relay.HeldLimit{Rows: 500, InlineBytes: 64 << 10, Bytes: 8 << 20})
	c.fatal(err, "held")
	return taken
}

func takenIDs(taken relay.Taken) (ids []relay.ID) {
	for i := range taken.Messages {
		ids = append(ids, taken.Messages[i].ID)
	}
	return ids
}

// states describes message_held: "1 dead, 2 blocked due".
func (c *storeCase) states() (text []string) {
	for _, h := range c.out.HeldRows() {
		s := fmt.Sprintf("%d %s", h.ID, h.State)
		if !h.DueAt.IsZero() {
			s += " due"
		}
		if h.Sending {
			s += " sending"
		}
		if h.Passed {
			s += " passed"
		}
		text = append(text, s)
	}
	return text
}

func (c *storeCase) closed(only ...relay.Key) (text []string) {
	c.t.Helper()
	for q := (relay.ClosedQuery{Limit: 2, Only: only}); ; { // pages so small that there are several
		heads, err := c.store.Closed(c.ctx(), c.lease, q)
		c.fatal(err, "closed")
		for _, h := range heads {
			text = append(text, fmt.Sprintf("%s by %d %s %v", h.Key.Key, h.ID, h.State, h.Due))
		}
		if len(heads) < q.Limit || len(only) > 0 {
			slices.Sort(text)
			return text
		}
		q.After = heads[len(heads)-1].Key
	}
}

// acts are what Held says of people's acts.
type acts struct {
	keys string // in order
	many bool
}

func acted(t relay.Taken) acts {
	var keys []string
	for _, k := range t.Keys {
		keys = append(keys, k.Key)
	}
	slices.Sort(keys)
	return acts{strings.Join(keys, " "), t.Many}
}

func key(name string) relay.Key { return relay.Key{Topic: "t", Key: name} }

func run(lo, hi relay.ID) []relay.Run { return []relay.Run{{Lo: lo, Hi: hi}} }
