package migrations

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
)

func TestUpStatusDown(t *testing.T) {
	eachEmpty(t, func(t *testing.T, pg *testservices.PG) {
		applied := func() (n int) {
			states, err := Status(t.Context(), pg.URL, Options{})
			if err != nil || len(states) != Version {
				t.Fatalf("status %v, error %v", states, err)
			}
			for _, s := range states {
				if !s.AppliedAt.IsZero() {
					n++
				}
			}
			return n
		}
		if n := applied(); n != 0 {
			t.Fatalf("%d migrations applied before the first", n)
		}
		if n := len(up(t, pg.URL, Options{})); n != Version {
			t.Fatalf("applied %d", n)
		}
		if n := len(up(t, pg.URL, Options{})); n != 0 || applied() != Version {
			t.Fatalf("the second time applied %d", n)
		}
		conn := connect(t, pg.URL)
		if v := ask[int](t, conn, "SELECT outbox.version()"); v != Version {
			t.Fatalf("outbox.version() is %d, not %d", v, Version)
		}
		if n := ask[int](t, conn, `SELECT count(*)::int FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE relnamespace = 'outbox'::regnamespace
				AND rolname <> 'outbox_owner'`); n != 0 {
			t.Errorf("%d tables do not belong to outbox_owner", n)
		}

		do(t, conn, "SELECT outbox.publish('t', '{}')")
		for _, to := range []int64{Version - 1, 0} {
			if done, err := Down(t.Context(), pg.URL, Options{}, to); !errors.Is(err, ErrUnsent) || len(done) != 0 {
				t.Fatalf("down with a pending message: %v, %v", done, err)
			}
		}
		do(t, conn, "DELETE FROM outbox.message_pending; INSERT INTO outbox.message_held (id, state, topic) VALUES (1, 'dead', 't')")
		if _, err := Down(t.Context(), pg.URL, Options{}, 0); !errors.Is(err, ErrUnsent) {
			t.Fatalf("down with a held message: %v", err)
		}
		do(t, conn, "DELETE FROM outbox.message_held")
		if done, err := Down(t.Context(), pg.URL, Options{}, 0); err != nil || len(done) != Version {
			t.Fatalf("down: %v, %v", done, err)
		}
		if left := ask[string](t, conn, `SELECT coalesce(string_agg(c.relname, ' '), '') FROM pg_class c WHERE relnamespace = 'outbox'::regnamespace AND relkind IN ('r','p','v','S')
				AND relname NOT LIKE 'migrations%'`) + ask[string](t, conn, "SELECT coalesce(string_agg(proname, ' '), '') FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace"); left != "" {
			t.Errorf("down left %s", left)
		}
		if n := len(up(t, pg.URL, Options{})); n != Version {
			t.Errorf("up after down applied %d", n)
		}
	})
}

// Programs that start together migrate together: each outbox once, and roles, which the databases of a server share, without a clash.
func TestUpConcurrently(t *testing.T) {
	for name, major := range map[string]int{"PostgreSQL 15": 15, "PostgreSQL 18": 18} {
		t.Run(name, func(t *testing.T) {
			databases := []*testservices.PG{testservices.Postgres(t, major), testservices.Postgres(t, major), testservices.Postgres(t, major)}
			o := Options{Schema: fmt.Sprintf("together_%d", major)} // roles that nobody has made yet
			var mu sync.Mutex
			applied := map[string]int{}
			var wg sync.WaitGroup
			for range 2 {
				for _, pg := range databases {
					wg.Go(func() {
						done, err := Up(t.Context(), pg.URL, o)
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						defer mu.Unlock()
						applied[pg.Name] += len(done)
					})
				}
			}
			wg.Wait()
			for _, pg := range databases {
				if applied[pg.Name] != Version {
					t.Errorf("%s: %d migrations applied, want each of %d once", pg.Name, applied[pg.Name], Version)
				}
			}
		})
	}
}

// login makes a login and returns its URL.
func login(t *testing.T, admin *pgx.Conn, base, name, attributes string) string {
	t.Helper()
	name += "_" + ask[string](t, admin, "SELECT current_database()::text")
	do(t, admin, "CREATE ROLE "+name+" LOGIN PASSWORD 'secret' "+attributes)
	t.Cleanup(func() { admin.Exec(t.Context(), "DROP OWNED BY "+name+"; DROP ROLE "+name) })
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "secret")
	return u.String()
}

func TestUpWithoutSuperuser(t *testing.T) {
	eachEmpty(t, func(t *testing.T, pg *testservices.PG) {
		admin := connect(t, pg.URL)
		prefix := Options{Schema: "own_" + pg.Name + fmt.Sprint(ask[int](t, admin, "SELECT current_setting('server_version_num')::int / 10000"))}
		nobody := login(t, admin, pg.URL, "nobody", "")
		if _, err := Up(t.Context(), nobody, prefix); err == nil || !strings.Contains(err.Error(), "waybill migrate up --single-role") {
			t.Errorf("a login without rights: %v", err)
		}

		creator := login(t, admin, pg.URL, "creator", "CREATEROLE")
		do(t, admin, "GRANT CREATE ON DATABASE "+pg.Name+" TO creator_"+pg.Name)
		up(t, creator, prefix)
		conn := connect(t, creator)
		do(t, conn, "SET ROLE "+prefix.Schema+"_owner")
		do(t, conn, "SELECT "+prefix.Schema+".publish('t', '{}')")

		// later migrations need membership only
		migrator := login(t, admin, pg.URL, "migrator", "IN ROLE "+prefix.Schema+"_migrator")
		do(t, admin, "DELETE FROM "+prefix.Schema+".message_pending")
		if _, err := Down(t.Context(), migrator, prefix, Version-1); err != nil {
			t.Fatal(err)
		}
		if n := len(up(t, migrator, prefix)); n != 1 {
			t.Errorf("a migrator applied %d", n)
		}
	})
}

func TestSingleRole(t *testing.T) {
	eachEmpty(t, func(t *testing.T, pg *testservices.PG) {
		admin := connect(t, pg.URL)
		single := login(t, admin, pg.URL, "single", "")
		do(t, admin, "GRANT CREATE ON DATABASE "+pg.Name+" TO single_"+pg.Name)
		o := Options{Schema: "single_" + pg.Name, SingleRole: true}
		up(t, single, o)
		conn := connect(t, single)
		do(t, conn, "SELECT "+o.Schema+".publish('t', '{}', 'k')")
		if n := ask[int](t, conn, "SELECT count(*)::int FROM "+o.Schema+".message_status WHERE state = 'pending'"); n != 1 {
			t.Errorf("%d messages pending", n)
		}
		if n := ask[int](t, admin, "SELECT count(*)::int FROM pg_roles WHERE rolname LIKE $1", o.Schema+"\\_%"); n != 0 {
			t.Errorf("%d roles were made", n)
		}
		if acl := ask[int](t, admin, "SELECT count(*)::int FROM pg_default_acl"); acl != 0 {
			t.Error("default privileges of the login were changed")
		}
		do(t, conn, "DELETE FROM "+o.Schema+".message_pending")
		if done, err := Down(t.Context(), single, o, 0); err != nil || len(done) != Version {
			t.Errorf("down: %v, %v", done, err)
		}
	})
}

func TestReservedSchemaName(t *testing.T) {
	eachEmpty(t, func(t *testing.T, pg *testservices.PG) {
		if _, err := Up(t.Context(), pg.URL, Options{Schema: "order"}); err == nil || !strings.Contains(err.Error(), "reserved word") {
			t.Errorf("schema order: %v", err)
		}
	})
}
