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

	"github.com/waybillmq/waybill/relay"
)

// An examination of both ends of the supported range, as a login that has its roles without inheriting them.
func TestExamine(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			d := newDesk(t, major)
			d.fill(t)
			name := fmt.Sprintf("examined_%d", major)
			d.exec(t, `CREATE ROLE `+name+` LOGIN NOINHERIT PASSWORD 'pw' IN ROLE outbox_relay, outbox_operator`)
			t.Cleanup(func() {
				if _, err := d.conn.Exec(context.Background(), `DROP OWNED BY `+name+`; DROP ROLE `+name); err != nil {
					t.Error(err)
				}
			})
			cc, err := pgx.ParseConfig(d.url)
			if err != nil {
				t.Fatal(err)
			}
			url := fmt.Sprintf("postgres://%s:pw@%s:%d/%s", name, cc.Host, cc.Port, cc.Database)

			x, err := Examine(t.Context(), Config{URL: url, DirectURL: d.url})
			if err != nil {
				t.Fatal(err)
			}
			for part, err := range map[string]error{"login": x.Login.Err, "version": x.Version.Err, "tables": x.Tables.Err, "hooks": x.Hooks.Err, "ids": x.IDs.Err, "place": x.Place.Err,
				"identity": x.Identity.Err, "transactions": x.Transactions.Err, "prepared": x.Prepared.Err, "slots": x.Slots.Err, "commit": x.Commit.Err, "rights": x.Rights.Err,
				"public": x.Public.Err, "definers": x.Definers.Err, "direct": x.Server.Direct.Err} {
				if err != nil {
					t.Errorf("%s: %v", part, err)
				}
			}
			s := x.Server
			if s.Version/10000 != major || s.Recovery || s.ReadOnly || s.Pooled || !s.HasDirect || s.Direct.V || s.Encrypted || !s.Local || s.Settings["autovacuum"] != "on" || s.Ahead.Abs() > time.Second {
				t.Errorf("server %+v", s)
			}
			if l := x.Login.V; l.Name != name || l.Superuser || l.SeesOthers || !l.Member["relay"] || !l.Member["viewer"] || l.Member["producer"] || !l.Exists["producer"] {
				t.Errorf("login %+v", l)
			}
			if f := x.IDs.V; f != (IDFacts{Cache: 1, Increment: 1, Default: "outbox.next_id()"}) {
				t.Errorf("ids %+v", f)
			}
			if f := x.Place.V; f != (PlaceFacts{Last: 8, Max: 8, Ahead: 1, Top: 2_000_000}) {
				t.Errorf("place %+v", f)
			}
			if !x.Identity.V.SameServer || !x.Identity.V.SameTimeline || len(x.Public.V)+len(x.Definers.V) > 0 || len(x.Hooks.V) != 1 {
				t.Errorf("identity %+v, public %v, definers %v, hooks %+v", x.Identity.V, x.Public.V, x.Definers.V, x.Hooks.V)
			}
		})
	}
}

// An open transaction is told of when it is old enough, by those who may see it, and when it holds something.
func TestExamineOpenTransactions(t *testing.T) {
	d := newDesk(t, 18)
	tx, err := d.conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	pid := int32(d.conn.PgConn().PID())
	holds := func(old time.Duration) bool {
		x, err := examine(t.Context(), Config{URL: d.url}, old)
		if err != nil || x.Transactions.Err != nil {
			t.Fatal(err, x.Transactions.Err)
		}
		return slices.ContainsFunc(x.Transactions.V, func(h Holder) bool {
			return h.PID == pid && h.State == "idle in transaction" && h.GID == "" && h.Age > 0
		})
	}
	if holds(0) {
		t.Error("a transaction that has done nothing holds something")
	}
	if _, err := tx.Exec(t.Context(), `SELECT pg_current_xact_id()`); err != nil {
		t.Fatal(err)
	}
	if !holds(0) || holds(time.Hour) {
		t.Error("a transaction with an id is not told of, or is told of too early")
	}
}

// What makes it impossible to ask is an error that names no password.
func TestExamineCannotAsk(t *testing.T) {
	d := newDesk(t, 18)
	var wrong *relay.ConfigError
	for _, c := range []struct {
		url    string
		config bool
	}{
		{"postgres://u:canary@127.0.0.1:1/x", false}, {"postgres://u:canary@%zz", true}, {"", true}, {d.url[:strings.LastIndex(d.url, "/")] + "/nowhere", true},
	} {
		_, err := Examine(t.Context(), Config{URL: c.url})
		if err == nil || c.config != errors.As(err, &wrong) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", c.url, err)
		}
	}
	d.exec(t, `DROP SCHEMA outbox CASCADE`)
	x, err := Examine(t.Context(), Config{URL: d.url})
	if err != nil || x.Version.V != 0 || x.Version.Err != nil || len(x.Tables.V) > 0 {
		t.Errorf("without a schema: %+v, %v", x, err)
	}
}
