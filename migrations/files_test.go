package migrations

import (
	"regexp"
	"strings"
	"testing"
)

const header = "SET LOCAL lock_timeout = '1s';\nSET LOCAL statement_timeout = '60s';\nSET LOCAL search_path = pg_catalog, pg_temp;\nSET LOCAL ROLE outbox_owner;\n"

// The rules of every migration, so that none can stop a business for longer than a second or take its messages along.
func TestRulesOfFiles(t *testing.T) {
	all, err := Options{}.load()
	if err != nil {
		t.Fatal(err)
	}
	if newest := all[len(all)-1]; newest.version != Version || !strings.Contains(newest.sql, "outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 14;") {
		t.Errorf("the newest file is %s; Version is %d, and outbox.version() must say the same", newest.name, Version)
	}
	function := regexp.MustCompile(`(?s)CREATE FUNCTION [^;]*?\$\$`)
	for i, f := range all {
		if f.version != int64(i+1) {
			t.Errorf("%s: file %d has number %d", f.name, i+1, f.version)
		}
		for _, start := range []string{"-- +goose Up\n" + header, "\n-- +goose Down\n" + header} {
			if strings.Count(f.sql, start) != 1 {
				t.Errorf("%s: must have once %q", f.name, start)
			}
		}
		_, down, _ := strings.Cut(f.sql, "-- +goose Down\n")
		if !strings.Contains(down, "pending or held") {
			t.Errorf("%s: down does not refuse while messages are pending or held", f.name)
		}
		if strings.Contains(f.sql, "CONCURRENTLY") && !strings.HasPrefix(f.sql, "-- +goose NO TRANSACTION") {
			t.Errorf("%s: CREATE INDEX CONCURRENTLY needs a file of its own, without a transaction", f.name)
		}
		for _, head := range function.FindAllString(f.sql, -1) {
			if !strings.Contains(head, "SET search_path = pg_catalog, pg_temp") && !strings.Contains(head, "outbox.flat_headers(") {
				t.Errorf("%s: a function without a fixed search_path: %.80s", f.name, head)
			}
		}
		if f.version > 1 && regexp.MustCompile(`ALTER TABLE outbox\.message_log (ADD COLUMN .* DEFAULT|ALTER .* TYPE)`).MatchString(f.sql) {
			t.Errorf("%s: rewrites message_log", f.name)
		}
		if regexp.MustCompile(`SECURITY DEFINER`).MatchString(f.sql) && strings.Count(f.sql, "SECURITY DEFINER") > strings.Count(f.sql, "SET search_path = pg_catalog, pg_temp") {
			t.Errorf("%s: SECURITY DEFINER without a fixed search_path", f.name)
		}
	}
}

func TestRender(t *testing.T) {
	all, err := Options{Schema: "orders_2"}.load()
	if err != nil {
		t.Fatal(err)
	}
	first, err := Options{Schema: "orders_2"}.bootstrap()
	if err != nil {
		t.Fatal(err)
	}
	left := regexp.MustCompile(`\boutbox(_(owner|relay|producer|viewer|operator|monitor|migrator|payload))?\b[^:]`)
	for _, f := range append(all, file{name: "bootstrap", sql: first}) {
		if m := left.FindString(f.sql); m != "" {
			t.Errorf("%s still names %q", f.name, m)
		}
		if strings.Contains(f.sql, "7240911") {
			t.Errorf("%s has the seed of the default schema", f.name)
		}
	}
	for _, f := range all {
		if strings.Contains(f.sql, "RAISE") && !strings.Contains(f.sql, "'outbox: ") {
			t.Errorf("%s: error messages begin with \"outbox:\" in every schema", f.name)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, bad := range []string{"Orders", "1a", "a-b", "pg_a", "a b", "a\"", strings.Repeat("a", 41), "ü"} {
		if err := (Options{Schema: bad}).Validate(); err == nil {
			t.Errorf("schema %q passed", bad)
		}
	}
	for _, good := range []string{"", "outbox", "_a", "a1_", strings.Repeat("a", 40)} {
		if err := (Options{Schema: good}).Validate(); err != nil {
			t.Error(err)
		}
	}
	if KeyLockSeed("") != 7240911 || KeyLockSeed("outbox") != 7240911 || KeyLockSeed("a") == KeyLockSeed("b") || KeyLockSeed("a") < 0 {
		t.Error("seeds of key locks")
	}
}
