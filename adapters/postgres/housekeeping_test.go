package postgres_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// TestPartitionsAhead: made before they are needed, above what fell into the default partition, and refused while a transaction has read the log.
func TestPartitionsAhead(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		s := d.open()
		add := func() int {
			t.Helper()
			ahead, err := s.AddPartitions(ctxOf(t), 72*time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return ahead
		}
		if ahead := add(); ahead < 2 {
			t.Errorf("%d ahead of a new outbox", ahead)
		}
		before := one[int64](d, `SELECT count(*) FROM outbox.partitions`)
		if add(); one[int64](d, `SELECT count(*) FROM outbox.partitions`) != before {
			t.Error("a second round added more")
		}
		d.exec(`SELECT setval('outbox.message_id_seq', 7000000)`)
		d.insert(10, 10)
		if one[int64](d, `SELECT count(*) FROM outbox.message_log_rest`) != 10 {
			t.Fatal("rows without a partition went elsewhere")
		}
		if ahead := add(); ahead < 2 {
			t.Errorf("%d ahead after an outage", ahead)
		}
		dump := d.connect()
		for _, q := range []string{`BEGIN`, `SELECT count(*) FROM outbox.message_log`} {
			if _, err := dump.Exec(ctxOf(t), q); err != nil {
				t.Fatal(err)
			}
		}
		d.exec(`SELECT setval('outbox.message_id_seq', 9000000)`)
		if _, err := s.AddPartitions(ctxOf(t), 72*time.Hour); err == nil {
			t.Error("a partition was attached beside an open reader of the default partition")
		}
		_, _ = dump.Exec(ctxOf(t), `ROLLBACK`)
		if ahead := add(); ahead < 2 {
			t.Errorf("%d ahead when the dump is over", ahead)
		}
	})
}

// TestRetention (F12): a partition goes when all of it is settled and old; with one pending or held message it stays.
func TestRetention(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		o := d.own()
		d.exec(`SELECT outbox.publish('t'::text, '{}'::text, message_id => 'mine')`)
		d.insert(100, 10)
		d.exec(`SELECT setval('outbox.message_id_seq', 1000100)`)
		d.insert(10, 10)
		d.exec(`UPDATE outbox.message_log SET created_at = now() - interval '4 days' WHERE id < 1000000`)
		all, _ := o.readAll(0, someRows)
		retain := func() []string {
			t.Helper()
			dropped, err := o.Retain(ctxOf(t), 72*time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return dropped
		}
		if dropped := retain(); len(dropped) != 0 {
			t.Fatalf("dropped %v with pending messages in it", dropped)
		}
		o.settle(relay.Settlement{Acked: runsOf(all[1:]), Hold: []relay.Hold{{ID: all[0].ID, State: relay.Dead, Attempts: 1, Destination: "k"}}})
		if dropped := retain(); len(dropped) != 0 {
			t.Fatalf("dropped %v with a dead message in it", dropped)
		}
		if _, err := d.Discard(all[0].ID); err != nil {
			t.Fatal(err)
		}
		if dropped := retain(); !slices.Equal(dropped, []string{"message_log_0"}) {
			t.Fatalf("dropped %v", dropped)
		}
		if n := one[int64](d, `SELECT (SELECT count(*) FROM outbox.message_ids) + (SELECT count(*) FROM outbox.message_discarded)`); n != 0 {
			t.Errorf("%d rows are left of dropped messages", n)
		}
		if n := one[int64](d, `SELECT count(*) FROM outbox.message_log`); n != 10 {
			t.Errorf("%d messages are left, want the 10 young ones", n)
		}
	})
}

// TestSelfCheck: a pending id at or below the low-water mark is found.
func TestSelfCheck(t *testing.T) {
	d := newOutbox(t, 15)
	s := d.open()
	_, last := d.insert(3, 10)
	for low, want := range map[relay.ID]int{last - 3: 0, last - 1: 2, last: 3} {
		if late, err := s.LateRows(ctxOf(t), low); err != nil || len(late) != want {
			t.Errorf("low-water mark %d: %v, %v, want %d", low, late, err, want)
		}
	}
}

// TestLimits (E17): publish refuses what the broker would refuse; a topic that is no longer named loses its limit; the default stays.
func TestLimits(t *testing.T) {
	d := newOutbox(t, 15)
	s := d.open()
	limits := func() map[string]int32 {
		out := map[string]int32{}
		for _, r := range collect(d, pgx.RowToStructByPos[struct {
			Topic string
			Bytes int32
		}], `SELECT topic, max_bytes FROM outbox.limits`) {
			out[r.Topic] = r.Bytes
		}
		return out
	}
	was := limits()["*"]
	for _, set := range []map[string]int{{"a": 100, "b": 200}, {"b": 300}} {
		if err := s.SetLimits(ctxOf(t), set, "k"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := limits(), (map[string]int32{"*": was, "b": 300}); !maps.Equal(got, want) {
		t.Errorf("limits %v, want %v", got, want)
	}
	for source, want := range map[string]map[string]int{"k": {"b": 300}, "another": {}} {
		if got, err := s.Limits(ctxOf(t), source); err != nil || !maps.Equal(got, want) {
			t.Errorf("limits of %s: %v, %v, want %v", source, got, err, want)
		}
	}
	if err := d.try(`SELECT outbox.publish_bytes('b', decode(repeat('00', 301), 'hex'))`); err == nil {
		t.Error("a payload above the limit was accepted")
	}
}

// TestRegistration (C16): running relays are known to each other.
func TestRegistration(t *testing.T) {
	d := newOutbox(t, 15)
	s := d.open()
	for _, name := range []string{"b", "a", "b"} {
		if err := s.Register(ctxOf(t), postgres.Registration{Instance: name, StartedAt: time.Now(), Version: "1", Checks: json.RawMessage(`{"k": "ok"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	d.exec(`INSERT INTO outbox.relay (instance, started_at, seen_at, version) VALUES ('gone', now(), now() - interval '20 s', '1'), ('old', now(), now() - interval '2 days', '1')`)
	list, err := s.Registered(ctxOf(t))
	if err != nil || len(list) != 2 || list[0].Instance != "a" || list[1].Instance != "b" || string(list[1].Checks) != `{"k": "ok"}` {
		t.Errorf("registered: %+v, %v", list, err)
	}
	if err := errors.Join(s.Unregister(ctxOf(t), "a"), s.Register(ctxOf(t), postgres.Registration{Instance: "b", StartedAt: time.Now(), Version: "1"})); err != nil {
		t.Fatal(err)
	}
	if names := one[[]string](d, `SELECT array_agg(instance ORDER BY instance) FROM outbox.relay`); !slices.Equal(names, []string{"b", "gone"}) {
		t.Errorf("rows %v", names)
	}
}

// TestPinDestination (C16): the name of a destination stands for one cluster.
func TestPinDestination(t *testing.T) {
	d := newOutbox(t, 15)
	s := d.open()
	for _, c := range []struct {
		name, kind, id string
		refused        bool
	}{{"k", "kafka", "A", false}, {"k", "kafka", "A", false}, {"k", "kafka", "B", true}, {"k", "rabbitmq", "A", true}, {"k2", "kafka", "A", false}, {"k", "kafka", "a", false}} {
		err := s.PinDestination(ctxOf(t), c.name, c.kind, c.id, strings.EqualFold)
		var config *relay.ConfigError
		if errors.As(err, &config) != c.refused || err != nil && !c.refused {
			t.Errorf("%v: %v", c, err)
		}
	}
}

// TestHolders (A5): an idle writer and a prepared transaction are named.
func TestHolders(t *testing.T) {
	d := newOutbox(t, 15)
	s := d.open()
	d.exec(`GRANT pg_monitor TO waybill_relay`)
	writer := d.Begin()
	writer.Touch()
	defer writer.Rollback()
	reader := d.connect()
	if _, err := reader.Exec(ctxOf(t), `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1`); err != nil {
		t.Fatal(err)
	}
	until(t, "the writer is named, and the reader is not", func() bool {
		list, err := s.Holders(ctxOf(t), time.Millisecond)
		list = slices.DeleteFunc(list, func(h postgres.Holder) bool { return h.Database != one[string](d, `SELECT current_database()::text`) })
		return err == nil && len(list) == 1 && list[0].PID > 0 && list[0].State == "idle in transaction" && list[0].Age > 0
	})
}

// TestBrake (OB006): the owner moves the ceiling with its low-water mark; without a brake there is none.
func TestBrake(t *testing.T) {
	d := newOutbox(t, 15)
	s, err := postgres.Open(ctxOf(t), postgres.Config{URL: asRelay(t, d.url), MaxUnsent: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lease, err := s.Acquire(ctxOf(t), relay.Terms{Owner: "a", Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	_, last := d.insert(5, 10)
	if lease, err = s.Renew(ctxOf(t), lease, relay.Progress{LowWater: last, ReadUpTo: last, Pending: -1}); err != nil {
		t.Fatal(err)
	}
	d.insert(10, 10)
	if err := d.try(`SELECT outbox.publish('t'::text, '{}'::text)`); err == nil {
		t.Error("published above the brake")
	}
	if err := s.Release(ctxOf(t), lease); err != nil {
		t.Fatal(err)
	}
	d.own()
	d.insert(1, 10)
}
