package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// The relay goes through a pooler in session mode, the application through one in transaction mode: everything is sent, each key in order, and the relay's sessions have
// their settings.
func TestPooler_C11(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		d.via = testservices.PgBouncer(t, d.url, "session", map[string]string{"waybill_relay": "relay"}).URL(d.url)
		app := testservices.PgBouncer(t, d.url, "transaction", nil).URL(d.url)
		for role, want := range map[string]string{"claimer": "off 0 on", "settler": "off 0 off", "lease": "on 0 on"} {
			conn, err := postgres.Connect(ctxOf(t), postgres.Config{URL: asRelay(t, d.via)}, role)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				var got string
				if err := conn.QueryRow(ctxOf(t), `SELECT current_setting('enable_seqscan') || ' ' || current_setting('lock_timeout') || ' ' || current_setting('synchronous_commit')`).Scan(&got); err != nil || got != want {
					t.Errorf("settings of %s: %q, %v, want %q", role, got, err, want)
				}
			}
			_ = conn.Close(ctxOf(t))
		}
		look, err := postgres.OpenInspector(postgres.Config{URL: d.via})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(look.Close)
		e := d.relay(30 * time.Second)
		var conns []*pgx.Conn
		for range 4 {
			pc, err := pgx.ParseConfig(app)
			if err != nil {
				t.Fatal(err)
			}
			pc.DefaultQueryExecMode = pgx.QueryExecModeExec
			conn, err := pgx.ConnectConfig(ctxOf(t), pc)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(ctxOf(t)) })
			conns = append(conns, conn)
		}
		for i := range 200 {
			err := pgx.BeginFunc(ctxOf(t), conns[i%len(conns)], func(tx pgx.Tx) error {
				_, err := tx.Exec(ctxOf(t), `SELECT outbox.publish_bytes('t', $1::bytea, $2)`, []byte(fmt.Sprint(i)), fmt.Sprint("k", i%5))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		until(t, "all is sent", func() bool { return len(d.Pending()) == 0 })
		if o, err := look.Overview(ctxOf(t)); err != nil || o.Owner == "" {
			t.Errorf("people see: %+v, %v", o, err)
		}
		last, n := map[string]relay.ID{}, 0
		for _, r := range e.broker.Records() {
			if n++; r.Message.ID <= last[r.Message.Key] {
				t.Errorf("key %s: %d behind %d", r.Message.Key, r.Message.ID, last[r.Message.Key])
			}
			last[r.Message.Key] = r.Message.ID
		}
		if n != 200 || len(e.failures()) != 0 {
			t.Errorf("%d are stored, want 200; failures %v", n, e.failures())
		}
	})
}

// A pooler in transaction mode is found before anything is done through it, and named with what to change; it may stand in front of one address only.
func TestPoolerThatSharesSessions_C11(t *testing.T) {
	d := newOutbox(t, 15)
	through := asRelay(t, testservices.PgBouncer(t, d.url, "transaction", map[string]string{"waybill_relay": "relay"}).URL(d.url))
	direct := asRelay(t, d.url)
	for key, cfg := range map[string]postgres.Config{"database.url": {URL: through}, "database.url leads": {URL: through, DirectURL: direct}, "database.direct_url": {URL: direct, DirectURL: through}} {
		store, err := postgres.Open(ctxOf(t), cfg)
		var config *relay.ConfigError
		if !errors.As(err, &config) || !strings.HasPrefix(err.Error(), key) || !strings.Contains(err.Error(), "pool_mode = session") {
			t.Errorf("%s: %v", key, err)
		}
		if err == nil {
			store.Close()
		}
	}
	if n := one[int64](d, `SELECT count(*) FROM pg_stat_activity a WHERE datname = current_database() AND application_name LIKE 'waybill/%' AND state = 'active'`); n != 0 {
		t.Errorf("%d sessions of the relay are left", n)
	}
}
