package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// patience bounds every wait.
const patience = 30 * time.Second

// database is one outbox in a real PostgreSQL. It implements relaytest.Outbox.
type database struct {
	t     *testing.T
	url   string // superuser
	via   string // the same for the relay, when that takes another way; empty = url
	login string // of the relay; empty = waybill_relay
	conn  *pgx.Conn
}

func (d *database) relayURL() string {
	if d.via != "" {
		return d.via
	}
	return d.url
}

// majors are the versions that a test runs on: the oldest and the newest, or the one that WAYBILL_TEST_MAJOR names.
func majors(t *testing.T) []int {
	t.Helper()
	if s := os.Getenv("WAYBILL_TEST_MAJOR"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("WAYBILL_TEST_MAJOR: %v", err)
		}
		return []int{n}
	}
	return []int{15, 18}
}

// onEach runs test against each version.
func onEach(t *testing.T, test func(t *testing.T, major int)) {
	for _, major := range majors(t) {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) { test(t, major) })
	}
}

// newOutbox makes an outbox in a database of its own.
func newOutbox(t *testing.T, major int) *database {
	t.Helper()
	return outboxAt(t, testservices.Postgres(t, major).URL)
}

func outboxAt(t *testing.T, at string) *database {
	t.Helper()
	if _, err := migrations.Up(ctxOf(t), at, migrations.Options{}); err != nil {
		t.Fatalf("migrate up: %v", err)
	}
	d := &database{t: t, url: at}
	d.conn = d.connect()
	d.exec(`DO $$ BEGIN CREATE ROLE waybill_relay LOGIN PASSWORD 'relay' IN ROLE outbox_relay; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$`)
	return d
}

// asRelay is the URL of a login that has the rights of outbox_relay and no others.
func asRelay(t *testing.T, superuser string) string {
	t.Helper()
	u, err := url.Parse(superuser)
	if err != nil {
		t.Fatalf("URL: %v", err)
	}
	u.User = url.UserPassword("waybill_relay", "relay")
	return u.String()
}

func (d *database) asLogin(superuser string) string {
	if d.login == "" {
		return asRelay(d.t, superuser)
	}
	return strings.Replace(asRelay(d.t, superuser), "waybill_relay", d.login, 1)
}

func ctxOf(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (d *database) connect() *pgx.Conn {
	d.t.Helper()
	conn, err := pgx.Connect(ctxOf(d.t), d.url)
	if err != nil {
		d.t.Fatalf("connect: %v", err)
	}
	d.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// try runs a statement, reconnecting when a crash ended the connection.
func (d *database) try(sql string, args ...any) error {
	if d.conn.IsClosed() || d.conn.Ping(ctxOf(d.t)) != nil {
		d.conn = d.connect()
	}
	_, err := d.conn.Exec(ctxOf(d.t), sql, args...)
	return err
}

func (d *database) exec(sql string, args ...any) {
	d.t.Helper()
	if err := d.try(sql, args...); err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
}

func collect[T any](d *database, to pgx.RowToFunc[T], sql string, args ...any) []T {
	d.t.Helper()
	if d.conn.IsClosed() || d.conn.Ping(ctxOf(d.t)) != nil {
		d.conn = d.connect()
	}
	rows, err := d.conn.Query(ctxOf(d.t), sql, args...)
	if err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	out, err := pgx.CollectRows(rows, to)
	if err != nil {
		d.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

func one[T any](d *database, sql string, args ...any) T {
	d.t.Helper()
	all := collect(d, pgx.RowTo[T], sql, args...)
	if len(all) != 1 {
		d.t.Fatalf("%s: %d rows", sql, len(all))
	}
	return all[0]
}

// open is one more relay process.
func (d *database) open() *postgres.Store {
	d.t.Helper()
	store, err := postgres.Open(ctxOf(d.t), postgres.Config{URL: d.asLogin(d.relayURL())})
	if err != nil {
		d.t.Fatalf("open: %v", err)
	}
	d.t.Cleanup(store.Close)
	return store
}

func (d *database) Store() relay.Store { return d.open() }

// insert writes n messages in one statement and returns the first and the last id.
func (d *database) insert(n, bytes int) (first, last relay.ID) {
	d.t.Helper()
	d.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', 'k' || i % 1000, convert_to(repeat('x', $2), 'UTF8') FROM generate_series(1, $1) i`, n, bytes)
	last = relay.ID(one[int64](d, `SELECT last_value FROM outbox.message_id_seq`))
	return last - relay.ID(n) + 1, last
}

func (d *database) Pending() []relay.ID {
	d.t.Helper()
	return collect(d, pgx.RowTo[relay.ID], `SELECT id FROM outbox.message_pending ORDER BY id`)
}

func (d *database) HeldRows() []relaytest.HeldRow {
	d.t.Helper()
	return collect(d, func(r pgx.CollectableRow) (h relaytest.HeldRow, err error) {
		var state, outcome string
		var due, failed pgtype.Timestamptz
		err = r.Scan((*int64)(&h.ID), &state, &h.Key.Topic, &h.Key.Key, &h.Destination, &due, &h.Sending, &h.Passed, &h.Attempts, &outcome,
			&h.Failure.Class, &h.Failure.Code, &h.Failure.Text, &h.Fingerprint, &failed)
		h.State, h.DueAt, h.FirstFailedAt = relay.HeldState(state), due.Time, failed.Time
		for k := relay.Unknown; k <= relay.Config; k++ {
			if k.String() == outcome {
				h.Failure.Outcome = k
			}
		}
		return h, err
	}, `SELECT id, state, topic, coalesce(key, ''), destination, due_at, sending, passed, attempts, coalesce(outcome, ''), coalesce(class, ''), coalesce(error_code, ''),
		coalesce(error, ''), coalesce(fingerprint, 0), first_failed_at FROM outbox.message_held ORDER BY id`)
}

func (d *database) Receipts() []relaytest.StoredReceipt {
	d.t.Helper()
	return collect(d, func(r pgx.CollectableRow) (s relaytest.StoredReceipt, err error) {
		var lo int64
		var n int
		var ids []byte
		err = r.Scan(&lo, &n, (*int64)(&s.Epoch), &s.Seq, &s.Destination, &s.Lane, &s.FirstOffset, &s.At, &ids, &s.Detail)
		if err == nil {
			s.IDs, err = postgres.DecodeIDs(relay.ID(lo), n, ids)
		}
		return s, err
	}, `SELECT lo, n, epoch, seq, destination, lane, coalesce(first_offset, -1), acked_at, ids, coalesce(detail, '') FROM outbox.receipts ORDER BY epoch, seq, hi`)
}

func (d *database) act(name string, ids []relay.ID) (changed int, err error) {
	list := make([]int64, len(ids))
	for i, id := range ids {
		list[i] = int64(id)
	}
	err = d.conn.QueryRow(ctxOf(d.t), `SELECT changed FROM outbox.`+name+`($1, 'tester', 'because')`, list).Scan(&changed)
	return changed, err
}

func (d *database) Retry(ids ...relay.ID) (int, error)   { return d.act("retry", ids) }
func (d *database) Skip(ids ...relay.ID) (int, error)    { return d.act("skip", ids) }
func (d *database) Discard(ids ...relay.ID) (int, error) { return d.act("discard", ids) }

func (d *database) Pause(destination, reason string) error {
	_, err := d.conn.Exec(ctxOf(d.t), `SELECT outbox.pause($1, 'tester', $2)`, destination, reason)
	return err
}

func (d *database) Resume(destination string) error {
	_, err := d.conn.Exec(ctxOf(d.t), `SELECT outbox.resume($1, 'tester', NULL)`, destination)
	return err
}

func (d *database) Lock(ids ...relay.ID) (unlock func()) {
	d.t.Helper()
	conn := d.connect()
	if _, err := conn.Exec(ctxOf(d.t), `BEGIN`); err != nil {
		d.t.Fatalf("lock: %v", err)
	}
	for _, id := range ids {
		if _, err := conn.Exec(ctxOf(d.t), `SELECT FROM outbox.message_held WHERE id = $1 FOR UPDATE`, int64(id)); err != nil {
			d.t.Fatalf("lock: %v", err)
		}
	}
	return func() { // a closed connection alone keeps its locks for a moment
		if _, err := conn.Exec(context.Background(), `ROLLBACK`); err != nil {
			d.t.Errorf("unlock: %v", err)
		}
		_ = conn.Close(context.Background())
	}
}

// transaction is a business transaction on a connection of its own. It implements relaytest.Transaction.
type transaction struct {
	d    *database
	conn *pgx.Conn
}

func (d *database) Begin() relaytest.Transaction {
	d.t.Helper()
	tx := &transaction{d, d.connect()}
	tx.must(`BEGIN`)
	return tx
}

func (tx *transaction) must(sql string, args ...any) {
	tx.d.t.Helper()
	if _, err := tx.conn.Exec(ctxOf(tx.d.t), sql, args...); err != nil {
		tx.d.t.Fatalf("%s: %v", sql, err)
	}
}

func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// columns of a message as publish takes them.
func columns(m relay.Message) (headers any, deliverAfter any, payload any) {
	if len(m.Headers) > 0 {
		o := map[string]string{}
		for _, h := range m.Headers {
			o[h.Name] = h.Value
		}
		b, _ := json.Marshal(o)
		headers = string(b)
	}
	if !m.DeliverAfter.IsZero() {
		deliverAfter = m.DeliverAfter
	}
	if !m.Tombstone {
		payload = append([]byte{}, m.Payload...)
	}
	return headers, deliverAfter, payload
}

func (tx *transaction) Write(m relay.Message) relay.ID {
	tx.d.t.Helper()
	headers, deliverAfter, payload := columns(m)
	if m.Tombstone {
		tx.must(`SELECT outbox.publish_tombstone($1, $2, $3, $4)`, m.Topic, null(m.Key), headers, null(m.MessageID))
	} else {
		tx.must(`SELECT outbox.publish_bytes($1, $2, $3, $4, $5, $6, $7, $8)`, m.Topic, payload, null(m.Key), null(m.Type), headers, deliverAfter, null(m.MessageID), null(m.ContentType))
	}
	return tx.id()
}

func (tx *transaction) Insert(m relay.Message) relay.ID {
	tx.d.t.Helper()
	headers, deliverAfter, payload := columns(m)
	tx.must(`INSERT INTO outbox.message_log (topic, key, type, headers, deliver_after, message_id, content_type, payload) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		m.Topic, null(m.Key), null(m.Type), headers, deliverAfter, null(m.MessageID), null(m.ContentType), payload)
	return tx.id()
}

func (tx *transaction) id() (id relay.ID) {
	tx.d.t.Helper()
	if err := tx.conn.QueryRow(ctxOf(tx.d.t), `SELECT currval('outbox.message_id_seq')`).Scan((*int64)(&id)); err != nil {
		tx.d.t.Fatalf("currval: %v", err)
	}
	return id
}

func (tx *transaction) Touch() {
	tx.d.t.Helper()
	tx.must(`SELECT pg_current_xact_id()`)
}

func (tx *transaction) end(sql string) error {
	defer func() { _ = tx.conn.Close(context.Background()) }()
	_, err := tx.conn.Exec(ctxOf(tx.d.t), sql)
	return err
}

func (tx *transaction) Commit() error { return tx.end(`COMMIT`) }

func (tx *transaction) CommitAsync() error {
	tx.d.t.Helper()
	tx.must(`SET LOCAL synchronous_commit = off`)
	return tx.end(`COMMIT`)
}

func (tx *transaction) Rollback() { _ = tx.end(`ROLLBACK`) }

// until polls a condition: nothing in a database tells when it has come true.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if done() {
			tick.Stop()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited %v for: %s", patience, what)
		}
	}
}
