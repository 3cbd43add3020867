package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// desk is an outbox with something of everything in it, and people's connections to it.
type desk struct {
	url       string
	conn      *pgx.Conn
	inspector *Inspector
	operator  *Operator
}

func newDesk(t *testing.T, major int) *desk {
	t.Helper()
	ctx := t.Context()
	d := &desk{url: testservices.Postgres(t, major).URL}
	if _, err := migrations.Up(ctx, d.url, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.conn, err = pgx.Connect(ctx, d.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.conn.Close(context.Background()) })
	if d.inspector, err = OpenInspector(Config{URL: d.url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.inspector.Close)
	if d.operator, err = OpenOperator(Config{URL: d.url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.operator.Close)
	return d
}

func (d *desk) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := d.conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// fill writes ids 1 to 8: 1 sent, 2 pending, 3 dead head of key k, 4 and 5 blocked behind it, 6 retrying without key, 7 scheduled, 8 discarded.
func (d *desk) fill(t *testing.T) {
	t.Helper()
	d.exec(t, `INSERT INTO outbox.message_log (topic, key, headers, payload) SELECT CASE WHEN i < 6 THEN 'order.paid' ELSE 'clicks' END,
  CASE WHEN i BETWEEN 3 AND 5 THEN 'k' END, '{"secret-header": "canary"}', 'canary' FROM generate_series(1, 8) AS i ORDER BY i`)
	d.exec(t, `UPDATE outbox.message_log SET message_id = 'own-7' WHERE id = 7`)
	d.exec(t, `INSERT INTO outbox.message_ids VALUES ('own-7', 7)`)
	d.exec(t, `DELETE FROM outbox.message_pending WHERE id <> 2`)
	d.exec(t, `INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, first_offset, acked_at, ids) VALUES (1, 1, 1, 7, 1, 'kafka-a', 'order.paid/3', 41, now(), '\x01')`)
	d.exec(t, `INSERT INTO outbox.message_held (id, state, topic, key, destination, due_at, attempts, outcome, class, error_code, error, first_failed_at)
  SELECT m.id, v.state, m.topic, m.key, v.destination, v.due, v.attempts, v.outcome, v.class, v.code, v.error, CASE WHEN v.outcome IS NOT NULL THEN now() END
  FROM (VALUES (3, 'dead', 'kafka-a', NULL::timestamptz, 1, 'rejected', 'too_large', 'kafka/MESSAGE_TOO_LARGE', repeat('long ', 100)),
    (4, 'blocked', 'kafka-a', NULL, 0, NULL, NULL, NULL, NULL), (5, 'blocked', 'kafka-a', NULL, 0, NULL, NULL, NULL, NULL),
    (6, 'retrying', 'kafka-b', now() + interval '1 h', 3, 'unknown', 'timeout', NULL, 'no answer'), (7, 'scheduled', '', now() + interval '1 d', 0, NULL, NULL, NULL, NULL),
    (8, 'dead', 'kafka-b', NULL, 1, 'rejected', 'invalid', NULL, 'bad')) AS v(id, state, destination, due, attempts, outcome, class, code, error)
  JOIN outbox.message_log m USING (id)`)
	d.exec(t, `INSERT INTO outbox.attempt (id, n, epoch, instance, lane, outcome, class, error, took) VALUES (3, 1, 7, 'relay-2', 'order.paid/3', 'rejected', 'too_large', 'no', '12 ms')`)
	d.exec(t, `UPDATE outbox.owner SET epoch = 7, owner = 'relay-2', lease_until = now() + interval '1 h', released = false, low_water = 1`)
	d.exec(t, `SELECT setval('outbox.claimed', 1)`)
	d.exec(t, `INSERT INTO outbox.relay (instance, started_at, version, checks) VALUES ('relay-2', now(), '1', '{"destinations": {"kafka-a": {"state": "open", "since": "2026-01-31T10:00:00Z", "detail": "refused"}}}'), ('odd', now(), '1', '[]')`)
	d.exec(t, `INSERT INTO outbox.relay (instance, started_at, seen_at, version) VALUES ('gone', now(), now() - interval '1 h', '1')`)
	if _, err := d.operator.Discard(t.Context(), []relay.ID{8}, relay.Act{Actor: "cli:ana@host", Via: "cli", Reason: "test order"}); err != nil {
		t.Fatal(err)
	}
}

func TestInspector(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			d := newDesk(t, major)
			d.fill(t)
			t.Run("overview", d.testOverview)
			t.Run("held counts", d.testHeldCounts)
			t.Run("message", d.testMessage)
			t.Run("find", d.testFind)
			t.Run("lists", d.testLists)
			t.Run("keys", d.testKeys)
		})
	}
}

func (d *desk) testOverview(t *testing.T) {
	o, err := d.inspector.Overview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o.Epoch != 7 || o.Owner != "relay-2" || !o.Alive || o.Released || o.LastID != 8 || o.FirstID != 1 || o.Claimed != 1 || o.LowWater != 1 || o.Pending != 1 || o.Closed != 1 || o.OldestAt.IsZero() {
		t.Errorf("%+v", o)
	}
	if o.Held[relay.Dead] != 1 || o.Held[relay.Blocked] != 2 || o.Held[relay.Retrying] != 1 || o.Held[relay.Scheduled] != 1 {
		t.Errorf("held %v", o.Held)
	}
	if len(o.Relays) != 2 || o.Relays[1].Destinations["kafka-a"].State != relay.DestinationOpen || o.Relays[1].Destinations["kafka-a"].Detail != "refused" {
		t.Errorf("relays %+v", o.Relays)
	}
}

func (d *desk) testHeldCounts(t *testing.T) {
	got, err := d.inspector.HeldByDestination(t.Context())
	if err != nil || got["kafka-a"][relay.Dead] != 1 || got["kafka-a"][relay.Blocked] != 2 || got["kafka-b"][relay.Retrying] != 1 || got[""][relay.Scheduled] != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func (d *desk) testMessage(t *testing.T) {
	ctx := t.Context()
	get := func(id relay.ID) relay.MessageInfo {
		m, err := d.inspector.Message(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprintf("%+v", m), "canary") {
			t.Errorf("message %d shows payload or header values", id)
		}
		return m
	}
	if m := get(1); m.State != relay.StateSent || len(m.Places) != 1 || m.Places[0].Offset != 41 || !m.Places[0].HasOffset || m.Places[0].Lane != "order.paid/3" || !m.Claimed || m.Size != 6 || !slices.Equal(m.HeaderNames, []string{"secret-header"}) {
		t.Errorf("sent: %+v", m)
	}
	if m := get(2); m.State != relay.StatePending || m.Detail != "" || m.Claimed {
		t.Errorf("pending: %+v", m)
	}
	if m := get(3); m.State != relay.StateDead || m.Behind != 2 || m.Code != "kafka/MESSAGE_TOO_LARGE" || len(m.Error) != 500 || m.FirstFailedAt.IsZero() {
		t.Errorf("dead: %+v", m)
	}
	if m := get(5); m.Detail != "blocked" || m.Head != 3 || m.HeadState != relay.Dead || m.Behind != 0 {
		t.Errorf("blocked: %+v", m)
	}
	if m := get(8); m.State != relay.StateDiscarded || m.DiscardedBy != "cli:ana@host" || m.Reason != "test order" || m.Class != "invalid" {
		t.Errorf("discarded: %+v", m)
	}
	if _, err := d.inspector.Message(ctx, 99); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("unknown id: %v", err)
	}
	a, err := d.inspector.Attempts(ctx, 3)
	if err != nil || len(a) != 1 || a[0].Took != 12*time.Millisecond || a[0].Instance != "relay-2" {
		t.Errorf("attempts %+v, %v", a, err)
	}
}

func (d *desk) testFind(t *testing.T) {
	var uuid string
	if err := d.conn.QueryRow(t.Context(), `SELECT outbox_id::text FROM outbox.generations`).Scan(&uuid); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]relay.ID{"3": 3, "own-7": 7, uuid + "-5": 5, uuid + "-7": 0, "99": 0, "own-8": 0, uuid + "-99999999999999999999": 0, "": 0} {
		got, err := d.inspector.Find(t.Context(), ref)
		if got != want || want == 0 && !errors.Is(err, relay.ErrNotFound) || want != 0 && err != nil {
			t.Errorf("%q: %d, %v, want %d", ref, got, err, want)
		}
	}
}

func (d *desk) testLists(t *testing.T) {
	for filter, want := range map[string][]relay.ID{
		"":                             {8, 7, 6, 5, 4, 3, 2, 1},
		"state:dead":                   {3},
		"state:pending":                {7, 6, 5, 4, 2},
		"state:sent":                   {1},
		"state:discarded":              {8},
		"state:blocked,retrying":       {6, 5, 4},
		"-state:pending,sent":          {8, 3},
		"state:pending -state:blocked": {7, 6, 2},
		"state:dead,sent":              {3, 1},
		"destination:kafka-b":          {6},
		"class:too_large":              {3},
		"topic:order.*":                {5, 4, 3, 2, 1},
		"topic:order_paid":             {},
		"-topic:order.*,x":             {8, 7, 6},
		"key:k topic:order.paid":       {5, 4, 3},
		"-key:k state:pending":         {7, 6, 2},
		"id:3,own-7,99":                {7, 3},
		"id:3 state:sent":              {},
		"-id:3 state:dead":             {},
		"age<1h":                       {8, 7, 6, 5, 4, 3, 2, 1},
		"age>1h":                       {},
		"since:1h state:dead":          {3},
		"until:2020-01-01":             {},
	} {
		f, err := relay.ParseFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.inspector.Messages(t.Context(), f, 0, 0)
		if err != nil {
			t.Errorf("%q: %v", filter, err)
			continue
		}
		ids := []relay.ID{}
		for _, m := range got.Items {
			ids = append(ids, m.ID)
			if len(m.Error) > errorPreview {
				t.Errorf("a list carries a whole error: %d bytes", len(m.Error))
			}
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%q: %v, want %v", filter, ids, want)
		}
		var paged []relay.ID
		for before := relay.ID(0); ; {
			page, err := d.inspector.Messages(t.Context(), f, before, 2)
			if err != nil || len(page.Items) > 2 {
				t.Fatalf("%q: %d items, %v", filter, len(page.Items), err)
			}
			for _, m := range page.Items {
				paged = append(paged, m.ID)
			}
			if before = page.Next; before == 0 {
				break
			}
		}
		if !slices.Equal(paged, want) && len(want) > 0 {
			t.Errorf("%q by pages: %v, want %v", filter, paged, want)
		}
	}
}

func (d *desk) testKeys(t *testing.T) {
	list, err := d.inspector.Keys(t.Context(), relay.Key{}, 0)
	if err != nil || list.More || len(list.Items) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if k := list.Items[0]; k.Topic != "order.paid" || k.Key.Key != "k" || k.Head != 3 || k.State != relay.Dead || k.Behind != 2 || k.Class != "too_large" || len(k.Error) != errorPreview {
		t.Errorf("%+v", k)
	}
	if k, err := d.inspector.Key(t.Context(), relay.Key{Topic: "order.paid", Key: "k"}); err != nil || k.Head != 3 || len(k.Error) != 500 {
		t.Errorf("%+v, %v", k, err)
	}
	if _, err := d.inspector.Key(t.Context(), relay.Key{Topic: "order.paid", Key: "j"}); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("open key: %v", err)
	}
	if list, err := d.inspector.Keys(t.Context(), relay.Key{Topic: "order.paid", Key: "k"}, 0); err != nil || len(list.Items) != 0 {
		t.Errorf("behind the last key: %+v, %v", list, err)
	}
}

func TestOperator(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	ctx := t.Context()
	act := relay.Act{Actor: "cli:ana@host", Via: "cli", Reason: "limit raised"}
	got, err := d.operator.Retry(ctx, []relay.ID{3, 4, 99, 8}, act)
	if err != nil || got.Requested != 4 || got.Changed != 2 || got.Other != 1 || got.Missing != 1 || !slices.Equal(got.Unchanged, []relay.ID{4, 99}) || got.Activity == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if m, err := d.inspector.Message(ctx, 3); err != nil || m.Detail != string(relay.Retrying) || m.Attempts != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := d.operator.Discard(ctx, []relay.ID{3}, relay.Act{Actor: "cli:ana@host", Via: "cli"}); err == nil {
		t.Error("a discard without a reason was taken")
	}
	if _, err := d.operator.Skip(ctx, make([]relay.ID, 501), act); err == nil {
		t.Error("501 messages in one act")
	}
}

func TestOperatorBusy(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	d.exec(t, `BEGIN`)
	d.exec(t, `SELECT FROM outbox.message_held WHERE id = 3 FOR UPDATE`)
	start := time.Now()
	_, err := d.operator.Skip(t.Context(), []relay.ID{3}, relay.Act{Actor: "a", Via: "cli"})
	if !errors.Is(err, relay.ErrBusy) || time.Since(start) > actLimit+time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	d.exec(t, `ROLLBACK`)
	if got, err := d.operator.Skip(t.Context(), []relay.ID{3}, relay.Act{Actor: "a", Via: "cli"}); err != nil || got.Changed != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// The relay holds a lower message of the key as its head in the very moment in which a person retries the dead one: the act waits, finds the new head when
// it tries again, and the retried message takes its place behind it.
func TestRetryRacesWithAnotherHead(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			d := newDesk(t, major)
			d.exec(t, `INSERT INTO outbox.message_log (topic, key) SELECT 't', 'k' FROM generate_series(1, 2)`)
			d.exec(t, `INSERT INTO outbox.message_held (id, state, topic, key, attempts) VALUES (2, 'dead', 't', 'k', 3)`)
			relays, err := pgx.Connect(t.Context(), d.url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { relays.Close(context.Background()) })
			for _, sql := range []string{`BEGIN`, `INSERT INTO outbox.message_held (id, state, topic, key, due_at) VALUES (1, 'retrying', 't', 'k', now())`} {
				if _, err := relays.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			type answer struct {
				relay.Acted
				err error
			}
			done := make(chan answer, 1)
			go func() {
				got, err := d.operator.Retry(t.Context(), []relay.ID{2}, relay.Act{Actor: "a", Via: "cli"})
				done <- answer{got, err}
			}()
			for end := time.Now().Add(10 * time.Second); ; { // until the act waits for the other transaction
				var waits bool
				if err := d.conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))`, relays.PgConn().PID()).Scan(&waits); err != nil {
					t.Fatal(err)
				}
				if waits {
					break
				}
				if time.Now().After(end) {
					t.Fatal("the act never met the other transaction")
				}
			}
			if _, err := relays.Exec(t.Context(), `COMMIT`); err != nil {
				t.Fatal(err)
			}
			got := <-done
			if got.err != nil || got.Changed != 1 {
				t.Fatalf("%+v, %v", got.Acted, got.err)
			}
			m, err := d.inspector.Message(t.Context(), 2)
			if err != nil || m.Detail != string(relay.Blocked) || m.Head != 1 {
				t.Errorf("%+v, %v", m, err)
			}
		})
	}
}

func TestPeoplesRights(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	login := func(name, grants string) string {
		d.exec(t, `CREATE ROLE `+name+` LOGIN PASSWORD 'pw'`)
		d.exec(t, grants)
		t.Cleanup(func() { d.conn.Exec(context.Background(), `DROP OWNED BY `+name+`; DROP ROLE `+name) })
		cfg, err := pgx.ParseConfig(d.url)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("postgres://%s:pw@%s:%d/%s", name, cfg.Host, cfg.Port, cfg.Database)
	}
	act := relay.Act{Actor: "a", Via: "cli", Reason: "r"}
	for _, c := range []struct {
		name, grant     string
		reads, discards error
	}{
		{"p_viewer", `GRANT outbox_viewer TO p_viewer`, nil, relay.ErrDenied},
		{"p_relay", `GRANT outbox_relay TO p_relay`, nil, relay.ErrDenied},
		{"p_operator", `GRANT outbox_operator TO p_operator`, nil, nil},
		{"p_all", `ALTER ROLE p_all NOINHERIT; GRANT outbox_viewer, outbox_operator TO p_all`, nil, nil},
		{"p_producer", `GRANT outbox_producer TO p_producer`, relay.ErrDenied, relay.ErrDenied},
	} {
		cfg := Config{URL: login(c.name, c.grant)}
		i, err := OpenInspector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		o, err := OpenOperator(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = i.Overview(t.Context())
		if !errors.Is(err, c.reads) {
			t.Errorf("%s reads the overview: %v, want %v", c.name, err, c.reads)
		}
		m, err := i.Message(t.Context(), 8)
		if !errors.Is(err, c.reads) || err == nil && (m.DiscardedBy == "") == (c.discards == nil) && c.name != "p_relay" && c.name != "p_all" {
			t.Errorf("%s reads a message: %+v, %v", c.name, m, err)
		}
		if _, err := i.Messages(t.Context(), relay.Filter{}, 0, 0); !errors.Is(err, c.reads) {
			t.Errorf("%s lists: %v", c.name, err)
		}
		if _, err := o.Retry(t.Context(), []relay.ID{6}, act); !errors.Is(err, c.discards) {
			t.Errorf("%s retries: %v, want %v", c.name, err, c.discards)
		}
		i.Close()
		o.Close()
	}
}

func TestPeopleWithoutSchema(t *testing.T) {
	i, err := OpenInspector(Config{URL: testservices.Postgres(t, 18).URL})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	var config *relay.ConfigError
	if _, err := i.Overview(t.Context()); !errors.As(err, &config) || !strings.Contains(err.Error(), "waybill migrate up") {
		t.Error(err)
	}
	if v, err := i.Version(t.Context()); v != 0 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if _, err := OpenInspector(Config{URL: "postgres://u:canary@h:x/"}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a bad URL: %v", err)
	}
}

// A page costs the same whatever was sent.
func TestSearchIsBounded(t *testing.T) {
	d := newDesk(t, 18)
	d.exec(t, `INSERT INTO outbox.message_log (topic) SELECT CASE i WHEN 5 THEN 'rare' ELSE 'common' END FROM generate_series(1, 25000) AS i ORDER BY i`)
	f, err := relay.ParseFilter("topic:rare")
	if err != nil {
		t.Fatal(err)
	}
	var pages int
	for before := relay.ID(0); ; pages++ {
		list, err := d.inspector.Messages(t.Context(), f, before, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 1 && list.Items[0].ID == 5 {
			break
		}
		if list.Next == 0 || list.Searched != searchRows || pages > 3 {
			t.Fatalf("page %d: %+v", pages, list)
		}
		before = list.Next
	}
	if pages != 2 {
		t.Errorf("%d pages before the hit", pages)
	}
}
