package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// TestIDBeforeXid (A4): the default of id draws the xid first, so an id of a transaction that has written nothing else keeps its hole open.
func TestIDBeforeXid(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		idle := d.connect()
		if _, err := idle.Exec(ctxOf(t), `BEGIN`); err != nil {
			t.Fatal(err)
		}
		var drawn relay.ID
		if err := idle.QueryRow(ctxOf(t), `SELECT outbox.next_id()`).Scan((*int64)(&drawn)); err != nil {
			t.Fatal(err)
		}
		_, page := o.readAll(0, someRows)
		gone := d.Begin()
		gone.Write(relay.Message{Topic: "t", Payload: []byte("x")})
		d.insert(1, 10)
		gone.Rollback()
		for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); { // several probes
			if _, page = o.readAll(page.After, someRows); page.FirstHole != drawn {
				t.Fatalf("first hole %d, the open id is %d", page.FirstHole, drawn)
			}
		}
		if _, err := idle.Exec(ctxOf(t), `ROLLBACK`); err != nil {
			t.Fatal(err)
		}
		until(t, "the holes close", func() bool { _, page = o.readAll(page.After, someRows); return page.Holes == 0 })
	})
}

// TestRowsThatComeOneByOne: messages of four writers come one by one, beside ids that are drawn in vain, each once, and no probe of those holes mistakes
// what comes meanwhile for a sequence that was set back.
func TestRowsThatComeOneByOne(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		const each = 1000
		ended := make(chan error, 4)
		for range cap(ended) {
			conn := d.connect()
			go func() {
				var err error
				for i := 0; i < each && err == nil; i++ {
					if _, err = conn.Exec(t.Context(), `INSERT INTO outbox.message_log (topic, payload) VALUES ('t', 'y')`); err == nil && i%10 == 0 {
						_, err = conn.Exec(t.Context(), `SELECT outbox.next_id()`)
					}
				}
				ended <- err
			}()
		}
		seen := map[relay.ID]bool{}
		page := o.read(0, someRows)
		if err := o.SlowProbe(ctxOf(t)); err != nil {
			t.Fatal(err)
		}
		until(t, "everything is read", func() bool {
			for n := 0; n < 50; n++ {
				for i := range page.Messages {
					if seen[page.Messages[i].ID] || string(page.Messages[i].Payload) != "y" {
						t.Fatalf("message %d, %q: read twice, or not as written", page.Messages[i].ID, page.Messages[i].Payload)
					}
					seen[page.Messages[i].ID] = true
				}
				page = o.read(page.After, someRows)
			}
			return len(seen) == cap(ended)*each
		})
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestRowsFarApart: ids over several partitions and with gaps come by the sparse form, cut by bytes into more than one page, complete and in order.
func TestRowsFarApart(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		d.insert(20, 100)
		d.exec(`SELECT setval('outbox.message_id_seq', 999990)`)
		d.insert(20, 100) // over the bound of the first partition
		d.exec(`SELECT setval('outbox.message_id_seq', 5000000)`)
		d.insert(20, 100) // into the default partition
		all, last := o.readAll(0, relay.ReadLimit{Rows: 50, InlineBytes: 1000, PageBytes: 750})
		if len(all) != 60 {
			t.Fatalf("%d messages, want 60", len(all))
		}
		for i := range all {
			if i > 0 && all[i].ID <= all[i-1].ID || string(all[i].Payload) != strings.Repeat("x", 100) {
				t.Errorf("message %d: id %d, %d bytes", i, all[i].ID, len(all[i].Payload))
			}
		}
		if err := o.Claim(ctxOf(t), o.lease, last.After, last.Incarnation); err != nil {
			t.Error(err)
		}
	})
}

// TestManyHoles: above 10,000 open ranges neighbours are asked for together; what was seen in between is not read again, and nothing is lost.
func TestManyHoles(t *testing.T) {
	d := newOutbox(t, 15)
	o := d.own()
	blocker := d.Begin()
	blocker.Touch()
	odd := d.connect()
	if _, err := odd.Exec(ctxOf(t), `BEGIN`); err != nil {
		t.Fatal(err)
	}
	const n = 12_000
	d.exec(`SELECT setval('outbox.message_id_seq', $1)`, 2*n)
	d.exec(`INSERT INTO outbox.message_log (id, topic, payload) SELECT 2 * i, 't', 'x' FROM generate_series(1, $1) i`, n) // every second id
	if _, err := odd.Exec(ctxOf(t), `INSERT INTO outbox.message_log (id, topic, payload) SELECT 2 * i - 1, 't', 'x' FROM generate_series(1, $1) i WHERE i % 3 <> 0`, n); err != nil {
		t.Fatal(err)
	}
	even, page := o.readAll(0, someRows)
	if len(even) != n || page.Holes != n {
		t.Fatalf("%d messages and %d holes, want %d of each", len(even), page.Holes, n)
	}
	if again, _ := o.readAll(page.After, someRows); len(again) != 0 {
		t.Fatalf("%d messages came a second time", len(again))
	}
	if _, err := odd.Exec(ctxOf(t), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	late, page := o.readAll(page.After, someRows)
	if len(late) != n*2/3 {
		t.Errorf("%d late messages, want %d", len(late), n*2/3)
	}
	for i := range late {
		if late[i].ID%2 == 0 {
			t.Fatalf("id %d came a second time", late[i].ID)
		}
	}
	blocker.Rollback()
	until(t, "the holes close", func() bool { _, page = o.readAll(page.After, someRows); return page.Holes == 0 })
}

// TestLostRow (F18): a pending id without a row is read once more from the start, and then stops the outbox by name; it is never passed over.
func TestLostRow(t *testing.T) {
	d := newOutbox(t, 15)
	o := d.own()
	_, last := d.insert(3, 10)
	d.exec(`DELETE FROM outbox.message_log WHERE id = $1`, int64(last-1))
	read := func(after relay.ID) error {
		_, err := o.Read(ctxOf(t), o.lease, after, someRows)
		return err
	}
	if err := read(0); !errors.Is(err, relay.ErrReborn) {
		t.Errorf("first hit: %v, want a reset", err)
	}
	var refused *relay.RefusedError
	if err := read(0); !errors.As(err, &refused) || !strings.Contains(err.Error(), (last-1).String()) {
		t.Errorf("second hit: %v, want a refusal that names the id", err)
	}
}

// TestSequenceSetBack: ids drawn a second time lie below the position and in no hole; the reader starts anew. An id written by hand far above does not make
// it start anew for ever.
func TestSequenceSetBack(t *testing.T) {
	d := newOutbox(t, 15)
	o := d.own()
	_, last := d.insert(100, 10)
	all, page := o.readAll(0, someRows)
	o.settle(relay.Settlement{Acked: runsOf(all)})
	d.exec(`DELETE FROM outbox.message_log WHERE id > 50`)
	d.exec(`SELECT setval('outbox.message_id_seq', 50)`)
	d.insert(5, 10)
	gone := d.Begin() // a hole, so that the sequence is looked at
	gone.Write(relay.Message{Topic: "t", Payload: []byte("x")})
	d.exec(`INSERT INTO outbox.message_log (id, topic, payload) VALUES ($1, 't', 'by hand')`, int64(last+10))
	resets, seen := 0, map[relay.ID]bool{}
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		p, err := o.Read(ctxOf(t), o.lease, page.After, someRows)
		if errors.Is(err, relay.ErrReborn) {
			resets++
			p, err = o.Read(ctxOf(t), o.lease, 0, someRows)
		}
		if err != nil {
			t.Fatal(err)
		}
		page = p
		for i := range p.Messages {
			seen[p.Messages[i].ID] = true
		}
	}
	gone.Rollback()
	if resets != 1 || len(seen) != 6 || !seen[51] || !seen[last+10] {
		t.Errorf("%d resets, read %v; want 1 and ids 51 to 55 and %d", resets, seen, last+10)
	}
}

// TestWake (F3): armed, a commit wakes; not armed, it does not; after every reconnect there is one wake-up.
func TestWake(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		woken, err := o.Wake(ctx)
		if err != nil {
			t.Fatal(err)
		}
		wait := func(what string) {
			t.Helper()
			select {
			case <-woken:
			case <-time.After(patience):
				t.Fatalf("not woken %s", what)
			}
		}
		wait("by the first connect")
		if err := o.Arm(ctxOf(t), true); err != nil {
			t.Fatal(err)
		}
		d.insert(1, 10)
		wait("by a commit")
		d.exec(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'waybill/0/listener' AND datname = current_database()`)
		wait("by the reconnect")
		if err := o.Arm(ctxOf(t), false); err != nil {
			t.Fatal(err)
		}
		d.insert(1, 10)
		if err := o.Arm(ctxOf(t), true); err != nil {
			t.Fatal(err)
		}
		d.exec(`SELECT pg_notify('outbox', 'last')`)
		wait("by the last notification")
		select {
		case <-woken:
			t.Error("woken while not armed")
		default:
		}
	})
}
