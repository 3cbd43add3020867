package postgres_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

const scaleDead = 20_000 // messages of other keys

// TestReleaseOfALongQueue_D17_F8 (K4): 50,000 messages behind one head leave in order beside 20,000 dead ones, while a snapshot is held, so that no dead entry of an index
// may go away. The last page costs what the first one did, the main flow goes on beside it, and nothing stays in memory.
func TestReleaseOfALongQueue_D17_F8(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d, behind := newOutbox(t, major), 50_000
		if major > 15 {
			behind = 10_000
		}
		head := holdAtScale(d, behind)
		o := d.own()
		hold := d.connect()
		for _, q := range []string{`BEGIN ISOLATION LEVEL REPEATABLE READ`, `SELECT count(*) FROM pg_class`} {
			if _, err := hold.Exec(ctxOf(t), q); err != nil {
				t.Fatal(err)
			}
		}
		if heads, err := o.Closed(ctxOf(t), o.lease, relay.ClosedQuery{Limit: 100_000}); err != nil || len(heads) != scaleDead+1 {
			t.Fatalf("%d closed keys, %v", len(heads), err)
		}
		conn := planner(t, d, "reader")
		memory := heapBytes()
		key := relay.Key{Topic: "t", Key: "k"}
		done := o.settle(relay.Settlement{AckedHeld: ids(o.take("k")), Release: []relay.Key{key}})
		next, began := head+1, time.Now()
		var early, late map[string]int64
		var first, last time.Duration // of eight pages
		for page := 0; len(done.StillHeld) > 0; page++ {
			switch page {
			case 5:
				early = heldBuffers(t, conn, o, key)
			case behind/500 - 5:
				late = heldBuffers(t, conn, o, key)
			case 8:
				first = time.Since(began)
			case behind/500 - 8:
				last = -time.Since(began)
			}
			got := ids(o.take("k"))
			if len(got) == 0 {
				t.Fatalf("nothing is due after %d messages", next-head-1)
			}
			for _, id := range got {
				if id != next {
					t.Fatalf("message %d came, want %d", id, next)
				}
				next++
			}
			if page%25 == 0 {
				flowBeside(d, o)
			}
			done = o.settle(relay.Settlement{AckedHeld: got, Release: []relay.Key{key}})
		}
		if want := head + relay.ID(behind) + 1; next != want {
			t.Errorf("released up to %d, want %d", next-1, want-1)
		}
		last += time.Since(began)
		t.Logf("%d messages in %v; the first pages %v, the last %v; buffers early %v, late %v", behind, time.Since(began), first, last, early, late)
		for name, was := range early {
			if late[name] > 2*was+200 {
				t.Errorf("%s takes %d buffers at the end of the release, %d at its beginning", name, late[name], was)
			}
		}
		if grown := heapBytes() - memory; grown > 8<<20 {
			t.Errorf("%d MiB more in memory after the release", grown>>20)
		}
		if heads, err := o.Closed(ctxOf(t), o.lease, relay.ClosedQuery{Limit: 100_000}); err != nil || len(heads) != scaleDead {
			t.Errorf("%d closed keys after the release, %v", len(heads), err)
		}
	})
}

// holdAtScale holds what the test is about, with ids behind it that the main flow uses. It returns the head, which is due.
func holdAtScale(d *database, behind int) (head relay.ID) {
	d.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', CASE WHEN i <= $1::int THEN 'dead-' || i ELSE 'k' END, 'x' FROM generate_series(1, $2::int) i`, scaleDead, scaleDead+behind+1)
	d.exec(`DELETE FROM outbox.message_pending`)
	head = relay.ID(one[int64](d, `SELECT min(id) FROM outbox.message_log WHERE key = 'k'`))
	d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination, due_at, attempts) SELECT id, CASE WHEN id < $1 THEN 'dead' WHEN id = $1 THEN 'retrying' ELSE 'blocked' END,
		topic, key, 'k', CASE WHEN id = $1 THEN now() END, 1 FROM outbox.message_log`, int64(head))
	return head
}

// flowBeside sends 100 messages of the main flow.
func flowBeside(d *database, o *owned) {
	d.t.Helper()
	first, last := d.insert(100, 100)
	all, page := o.readAll(0, someRows)
	if len(all) != 100 {
		d.t.Fatalf("%d read, want 100", len(all))
	}
	if err := o.Claim(ctxOf(d.t), o.lease, last, page.Incarnation); err != nil {
		d.t.Fatal(err)
	}
	o.settle(relay.Settlement{Acked: []relay.Run{{Lo: first, Hi: last}}})
}

// heldBuffers are the buffers that the next take, the release after it and a settlement of the main flow read.
func heldBuffers(t *testing.T, conn *pgx.Conn, o *owned, key relay.Key) map[string]int64 {
	t.Helper()
	due, topics, keys, at := o.Fronts()
	if len(at) != 1 {
		t.Fatalf("fronts of %v", keys)
	}
	list := func(values ...any) string {
		return "'{" + strings.Trim(strings.ReplaceAll(fmt.Sprint(values...), " ", ","), "[]") + "}'"
	}
	epoch, out := int64(o.lease.Epoch), map[string]int64{}
	for _, c := range []planCase{
		{statement: "take", args: fmt.Sprintf(`%d, '{k}', %d, 65536, 8388608, 500, %s, %s, %s`, epoch, due, list(topics), list(keys), list(at))},
		{statement: "settle_held", args: fmt.Sprintf(`%d, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{%s}', '{%s}', %s, false`, epoch, key.Topic, key.Key, list(at))},
		{statement: "settle", args: fmt.Sprintf(`%d, '{}', '{}', '{%d}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', false`, epoch, at[0])},
	} {
		plan := explain(t, conn, c)
		plan.walk(func(n *node) { out[c.statement] = max(out[c.statement], n.Hit+n.Read) })
	}
	return out
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What comes to lie below the messages that are being released has its turn with the next ones: a scheduled message that falls due, and one that is held anew.
func TestLowerMessageDuringARelease(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		d.exec(`INSERT INTO outbox.message_log (topic, key, payload, deliver_after) SELECT 't', 'k', 'x', CASE WHEN i = 1 THEN now() + interval '1 h' END FROM generate_series(1, 3003) i`)
		all, page := o.readAll(0, someRows)
		if err := o.Claim(ctxOf(t), o.lease, page.After, page.Incarnation); err != nil {
			t.Fatal(err)
		}
		scheduled, late, head := all[0].ID, all[1].ID, all[2].ID
		s := relay.Settlement{Hold: []relay.Hold{{ID: scheduled, State: relay.Scheduled, Due: true, Destination: "k"}, {ID: head, State: relay.Retrying, Due: true, Attempts: 1, Destination: "k"}}}
		for i := range all[3:] {
			s.Hold = append(s.Hold, relay.Hold{ID: all[i+3].ID, State: relay.Blocked, Destination: "k"})
		}
		o.settle(s)
		key := relay.Key{Topic: "t", Key: "k"}
		take := func(first relay.ID, n int) []relay.ID {
			t.Helper()
			got := ids(o.take("k"))
			if len(got) != n || got[0] != first || !slices.IsSorted(got) {
				t.Fatalf("%d messages from %v on, want %d from %d on", len(got), got[:min(1, len(got))], n, first)
			}
			return got
		}
		next := func(acked []relay.ID, hold ...relay.Hold) {
			t.Helper()
			if done := o.settle(relay.Settlement{AckedHeld: acked, Hold: hold, Release: []relay.Key{key}}); len(done.StillHeld) != 1 {
				t.Fatal("the key opened")
			}
		}
		next(take(head, 1))
		next(take(head+1, 500))
		if _, _, _, at := o.Fronts(); len(at) != 1 || relay.ID(at[0]) != head+500 {
			t.Fatalf("fronts %v", at)
		}
		d.exec(`UPDATE outbox.message_held SET due_at = now() WHERE id = $1`, int64(scheduled))
		next(take(head+501, 500))
		next(take(head+1001, 499)) // the scheduled one is among those that are due, and is turned back
		next(take(scheduled, 500))
		got := take(head+1999, 500)
		o.settle(relay.Settlement{Hold: []relay.Hold{{ID: late, State: relay.Blocked, Destination: "k"}}})
		next(got)
		next(take(late, 500))
	})
}
