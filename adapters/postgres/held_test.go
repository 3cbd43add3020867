package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

var heldLimit = relay.HeldLimit{Rows: 500, InlineBytes: 64 << 10, Bytes: 8 << 20}

func (o *owned) take(open ...string) relay.Taken {
	o.t.Helper()
	taken, err := o.Held(ctxOf(o.t), o.lease, open, heldLimit)
	if err != nil {
		o.t.Fatalf("held: %v", err)
	}
	return taken
}

func ids(taken relay.Taken) (out []relay.ID) {
	for i := range taken.Messages {
		out = append(out, taken.Messages[i].ID)
	}
	return out
}

// behind holds n messages of key "k" behind a retrying head that is due.
func behind(d *database, o *owned, n int) (head relay.ID, rest []relay.ID) {
	d.t.Helper()
	d.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', 'k', 'x' FROM generate_series(0, $1) i`, n)
	all, last := o.readAll(0, someRows)
	if err := o.Claim(ctxOf(d.t), o.lease, last.After, last.Incarnation); err != nil {
		d.t.Fatal(err)
	}
	s := relay.Settlement{Hold: []relay.Hold{{ID: all[0].ID, State: relay.Retrying, Due: true, Attempts: 1, Destination: "k"}}}
	for i := range all[1:] {
		rest = append(rest, all[i+1].ID)
		s.Hold = append(s.Hold, relay.Hold{ID: all[i+1].ID, State: relay.Blocked, Destination: "k"})
	}
	o.settle(s)
	return all[0].ID, rest
}

// TestReleaseInPages (D17): what waits behind a head comes in id order, 500 at a time, and the key stays closed until the last one.
func TestReleaseInPages(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		head, rest := behind(d, o, 1700)
		key := relay.Key{Topic: "t", Key: "k"}
		if got := ids(o.take("k")); !slices.Equal(got, []relay.ID{head}) {
			t.Fatalf("taken %v, want the head %d", got, head)
		}
		done := o.settle(relay.Settlement{AckedHeld: []relay.ID{head}, Release: []relay.Key{key}})
		var got []relay.ID
		for len(done.StillHeld) > 0 {
			page := ids(o.take("k"))
			if len(page) == 0 || len(page) > 500 {
				t.Fatalf("%d messages at once after %d", len(page), len(got))
			}
			if again := ids(o.take("k")); len(again) != 0 {
				t.Fatalf("%d more before the first 500 were acked", len(again))
			}
			got = append(got, page...)
			done = o.settle(relay.Settlement{AckedHeld: page, Release: []relay.Key{key}})
		}
		if !slices.Equal(got, rest) {
			t.Errorf("%d came, want %d in id order", len(got), len(rest))
		}
		if heads, err := o.Closed(ctxOf(t), o.lease, relay.ClosedQuery{Limit: 100_000}); err != nil || len(heads) != 0 {
			t.Errorf("closed keys %v, %v", heads, err)
		}
	})
}

// TestLockedByPeople (F23): 100 times a person holds a row while outcomes are settled: the acks are written within the lock limit, the held part is told to
// wait, and passes afterwards.
func TestLockedByPeople(t *testing.T) {
	d := newOutbox(t, 15)
	o := d.own()
	head, rest := behind(d, o, 3)
	d.insert(20, 10)
	all, _ := o.readAll(0, someRows)
	for i := range 20 {
		unlock := d.Lock(rest[0])
		began := time.Now()
		s := relay.Settlement{Acked: runsOf(all[i : i+1]),
			Hold:     []relay.Hold{{ID: head, State: relay.Retrying, Due: true, Delay: time.Hour, Attempts: 1 + i, Destination: "k"}, {ID: rest[0], State: relay.Blocked, Destination: "k"}},
			Attempts: []relay.Attempt{{ID: head, N: 1 + i, Instance: "a", Lane: "t/0", Failure: relay.Failure{Text: "no\x00answer\xff"}, Took: time.Second}}}
		done := o.settle(s)
		if took := time.Since(began); !done.HeldWaits || took > 5*time.Second {
			t.Fatalf("held waits = %v after %v", done.HeldWaits, took)
		}
		if slices.Contains(d.Pending(), all[i].ID) {
			t.Fatal("the ack waits for a person's lock")
		}
		unlock()
		if done = o.settle(s); done.HeldWaits {
			t.Fatal("the held part still waits")
		}
	}
	if n := one[int64](d, `SELECT count(*) FROM outbox.attempt WHERE id = $1 AND took = '1 s'`, int64(head)); n != 20 {
		t.Errorf("%d attempts stored, want 20", n)
	}
	for i := range 60 {
		o.settle(relay.Settlement{Attempts: []relay.Attempt{{ID: head, N: 21 + i, Instance: "a"}}})
	}
	kept := one[[]int32](d, `SELECT array_agg(n ORDER BY n) FROM outbox.attempt WHERE id = $1`, int64(head))
	if len(kept) != 50 || kept[4] != 5 || kept[5] != 36 || kept[49] != 80 {
		t.Errorf("attempts kept: %v, want the first 5 and the newest 45", kept)
	}
}

// TestTheOwnersSessionsWaitForEachOther: the owner row is locked for longer than the limit for people's locks, as by a claim that waits for the disk: neither a
// settlement nor a take mistakes that for a person.
func TestTheOwnersSessionsWaitForEachOther(t *testing.T) {
	d := newOutbox(t, 15)
	o := d.own()
	head, rest := behind(d, o, 3)
	due := relay.Hold{ID: head, State: relay.Retrying, Due: true, Attempts: 1, Destination: "k"}
	o.settle(relay.Settlement{Hold: []relay.Hold{due}})
	settle := func() error {
		done, err := o.Settle(ctxOf(t), o.lease, relay.Settlement{Hold: []relay.Hold{{ID: rest[0], State: relay.Blocked, Destination: "k"}}})
		if err == nil && done.HeldWaits {
			err = errors.New("the held part waits")
		}
		return err
	}
	take := func() error {
		got, err := o.Held(ctxOf(t), o.lease, []string{"k"}, heldLimit)
		if err == nil && !slices.Equal(ids(got), []relay.ID{head}) {
			err = fmt.Errorf("took %v", ids(got))
		}
		return err
	}
	owner := d.connect()
	for what, call := range map[string]func() error{"settle": settle, "take": take} {
		if _, err := owner.Exec(ctxOf(t), `BEGIN; SELECT FROM outbox.owner FOR UPDATE`); err != nil {
			t.Fatal(err)
		}
		answer := make(chan error, 1)
		go func() { answer <- call() }()
		until(t, "it waits for the owner row", func() bool {
			return one[int64](d, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`) == 1
		})
		if _, err := owner.Exec(ctxOf(t), `SELECT pg_sleep(0.4); COMMIT`); err != nil {
			t.Fatal(err)
		}
		if err := <-answer; err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestManyHeldBesideFlow: 100,000 held messages, half of them due at a destination that is down, cost neither the take of another destination nor the main
// flow more than a few times what they cost without.
func TestManyHeldBesideFlow(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		d.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', 'h' || i % 5000, 'x' FROM generate_series(1, 100000) i`)
		d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination, due_at) SELECT id, CASE WHEN id % 2 = 0 THEN 'blocked' ELSE 'dead' END, topic, key, 'down',
			CASE WHEN id % 2 = 0 THEN now() END FROM outbox.message_log WHERE id <= 100000`)
		d.exec(`DELETE FROM outbox.message_pending`)
		d.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', 'f' || i, 'x' FROM generate_series(1, 500) i`)
		d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination, due_at) SELECT id, 'retrying', topic, key, 'k', now() FROM outbox.message_log WHERE id > 100000`)
		d.exec(`DELETE FROM outbox.message_pending`)
		o.take("other") // warm: statements and plans
		began := time.Now()
		taken := o.take("k", "")
		took := time.Since(began)
		if len(taken.Messages) != 500 || !slices.IsSorted(ids(taken)) {
			t.Errorf("%d taken", len(taken.Messages))
		}
		if took > 2*time.Second {
			t.Errorf("taking 500 beside 100,000 took %v", took)
		}
		d.insert(2000, 100)
		began = time.Now()
		all, last := o.readAll(0, relay.ReadLimit{Rows: 2000, InlineBytes: 1000, PageBytes: 8 << 20})
		if err := o.Claim(ctxOf(t), o.lease, last.After, last.Incarnation); err != nil {
			t.Fatal(err)
		}
		o.settle(relay.Settlement{Acked: []relay.Run{{Lo: all[0].ID, Hi: all[len(all)-1].ID}}, AckedHeld: ids(taken)})
		flow := time.Since(began)
		began = time.Now()
		heads, err := o.Closed(ctxOf(t), o.lease, relay.ClosedQuery{Limit: 100_000})
		if err != nil || len(heads) != 5000 {
			t.Errorf("%d closed keys, %v", len(heads), err)
		}
		t.Logf("take of 500: %v; read, claim and settle of 2,000: %v; 5,000 closed keys: %v", took, flow, time.Since(began))
		if len(all) != 2000 || flow > 5*time.Second {
			t.Errorf("%d read in %v", len(all), flow)
		}
	})
}

// TestTwoHeadsRefused (D18): a second retrying message of a key is a broken invariant that stops the outbox; nothing is written.
func TestTwoHeadsRefused(t *testing.T) {
	d := newOutbox(t, 15)
	o := d.own()
	_, rest := behind(d, o, 2)
	_, err := o.Settle(ctxOf(t), o.lease, relay.Settlement{Hold: []relay.Hold{{ID: rest[0], State: relay.Retrying, Due: true, Attempts: 1, Destination: "k"}}})
	if _, refused := err.(*relay.RefusedError); !refused {
		t.Errorf("a second head: %v, want a refusal", err)
	}
}

// Acts on so many messages that naming their keys would take long are told as many.
func TestManyActsAreNotNamed_D7(t *testing.T) {
	d := newOutbox(t, 18)
	d.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', 'dead-' || i, 'x' FROM generate_series(1, 5502) i`)
	d.exec(`DELETE FROM outbox.message_pending`)
	d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination, attempts) SELECT id, 'dead', topic, key, 'k', 1 FROM outbox.message_log`)
	o := d.own()
	all := `SELECT outbox.discard(ARRAY(SELECT id FROM outbox.message_held ORDER BY id LIMIT 500), 'a', 'r')`
	taken := func() relay.Taken {
		got, err := o.Held(ctxOf(t), o.lease, []string{"k"}, relay.HeldLimit{Rows: 1, InlineBytes: 10, Bytes: 10})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for range 10 {
		d.exec(all)
	}
	if got := taken(); got.Many || len(got.Keys) != 5000 {
		t.Errorf("after acts on 5,000 messages: many %v, %d keys", got.Many, len(got.Keys))
	}
	for range 2 { // 502 messages: 500 and 2
		d.exec(all)
	}
	if got := taken(); got.Many || len(got.Keys) != 502 {
		t.Errorf("after acts on 502 messages: many %v, %d keys", got.Many, len(got.Keys))
	}
	d.exec(`INSERT INTO outbox.activity (id, actor, via, action, requested, changed, ids, prev_hash, hash)
		SELECT (SELECT max(id) FROM outbox.activity) + i, 'a', 'cli', 'discard', 500, 500, ARRAY(SELECT generate_series(1, 500)::bigint), '', '' FROM generate_series(1, 11) i`)
	if got := taken(); !got.Many || len(got.Keys) != 0 {
		t.Errorf("after acts on 5,500 messages: many %v, %d keys", got.Many, len(got.Keys))
	}
	d.exec(`INSERT INTO outbox.activity (id, actor, via, action, requested, changed, prev_hash, hash) SELECT max(id) + 1, 'a', 'cli', 'discard', 3, 3, '', '' FROM outbox.activity`)
	if got := taken(); !got.Many {
		t.Errorf("after an act that names no message: %+v", got)
	}
}
