package embedded_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/child"
	"github.com/waybillmq/waybill/internal/embedded"
	"github.com/waybillmq/waybill/internal/testservices"
)

func TestMain(m *testing.M) { testservices.Main(m) }

// open is a folder that PostgreSQL's account reaches; t.TempDir is closed to it when root runs the tests.
func open(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "waybill-embedded-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, cfg embedded.Config) *embedded.Server {
	t.Helper()
	if cfg.Bin == "" {
		cfg.Bin = testservices.PostgresBin(t, 15)
	}
	s, err := embedded.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func refused(t *testing.T, cfg embedded.Config, parts ...string) {
	t.Helper()
	if cfg.Bin == "" {
		cfg.Bin = testservices.PostgresBin(t, 15)
	}
	s, err := embedded.Start(t.Context(), cfg)
	if err == nil {
		t.Errorf("started, want an error with %q", parts)
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

func ask(t *testing.T, s *embedded.Server, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var v string
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func stop(t *testing.T, s *embedded.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestServerKeepsItsDataAndPassword(t *testing.T) {
	for _, major := range []int{15, 18} {
		dir := filepath.Join(open(t), "demo")
		cfg := embedded.Config{Bin: testservices.PostgresBin(t, major), Dir: dir, Settings: map[string]string{"cluster_name": `it's a \ "test"`}}
		// What a first start that was broken off leaves.
		left := filepath.Join(dir, "data.new-1", "base")
		if err := os.MkdirAll(left, 0o711); err != nil {
			t.Fatal(err)
		}
		s := start(t, cfg)
		if found, _ := filepath.Glob(filepath.Join(dir, "data.new*")); len(found) > 0 {
			t.Errorf("%d: left behind: %v", major, found)
		}
		for sql, want := range map[string]string{"SHOW fsync": "on", "SHOW listen_addresses": "127.0.0.1", "SHOW unix_socket_directories": "",
			"SHOW cluster_name": `it's a \ "test"`, "SELECT count(*)::text FROM pg_hba_file_rules WHERE auth_method <> 'scram-sha-256'": "0"} {
			if got := ask(t, s, sql); got != want {
				t.Errorf("%d: %s = %q, want %q", major, sql, got, want)
			}
		}
		url := s.URL("postgres")
		ask(t, s, "SELECT lo_create(4711)::text")
		if conn, err := pgx.Connect(t.Context(), strings.Replace(url, "postgres:", "postgres:x", 2)); err == nil {
			conn.Close(t.Context())
			t.Errorf("%d: a wrong password was let in", major)
		}
		stop(t, s)
		<-s.Done()

		cfg.Port = s.Port()
		s = start(t, cfg)
		if s.URL("postgres") != url {
			t.Errorf("%d: the URL changed over a restart", major)
		}
		refused(t, cfg, "another program runs PostgreSQL in "+dir)
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		s = start(t, cfg)
		if got := ask(t, s, "SELECT oid::text FROM pg_largeobject_metadata"); got != "4711" {
			t.Errorf("%d: kept data: %q", major, got)
		}
		stop(t, s)
	}
}

func TestStartSaysWhyItFails(t *testing.T) {
	dir := open(t)
	refused(t, embedded.Config{Dir: dir, Bin: t.TempDir()}, "it has no program initdb")
	refused(t, embedded.Config{Dir: dir, Settings: map[string]string{"max_connections": "many"}, NoFsync: true}, "did not start on port", `max_connections`)
	refused(t, embedded.Config{Dir: dir, Settings: map[string]string{"a b": "c"}}, `"a b"`)
	refused(t, embedded.Config{Dir: dir, Settings: map[string]string{"a": "c\nport = 1"}}, "no setting")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused(t, embedded.Config{Dir: dir, Port: l.Addr().(*net.TCPAddr).Port}, "did not start on port", "Address already in use")

	if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("14\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, embedded.Config{Dir: dir}, "made by PostgreSQL 14", "remove the folder")
	if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	refused(t, embedded.Config{Dir: dir}, "without its password")
	if os.Geteuid() == 0 {
		refused(t, embedded.Config{Dir: filepath.Join(t.TempDir(), "closed")}, "a folder above it is closed to that user")
	}
}

func TestStopThatTakesTooLongEndsTheServer(t *testing.T) {
	s := start(t, embedded.Config{Dir: open(t), NoFsync: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err == nil || !strings.Contains(err.Error(), "as in a crash") {
		t.Errorf("stop without time: %v", err)
	}
	if child.Alive(s.PID()) {
		t.Error("the server still runs")
	}
	stop(t, s) // of a server that has ended: no error
}

func TestServerLeftByAKilledProgramIsEnded(t *testing.T) {
	cfg := embedded.Config{Dir: open(t), NoFsync: true}
	left := start(t, cfg)
	left.Abandon()
	s := start(t, cfg)
	<-left.Done()
	if got := ask(t, s, "SELECT 'alive'"); got != "alive" || left.PID() == s.PID() {
		t.Errorf("%q from process %d, the one left was %d", got, s.PID(), left.PID())
	}
}

// A server that starts while ctx ends is gone when Start returns.
func TestStartIsBounded(t *testing.T) {
	bin := testservices.PostgresBin(t, 15)
	for _, after := range []time.Duration{time.Millisecond, 100 * time.Millisecond, 600 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		dir := open(t)
		s, err := embedded.Start(ctx, embedded.Config{Bin: bin, Dir: dir, NoFsync: true})
		cancel()
		if err == nil {
			stop(t, s)
			continue
		}
		if pid, readErr := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid")); readErr == nil {
			start(t, embedded.Config{Bin: bin, Dir: dir, NoFsync: true}) // the lock is free, and a stale file does not hinder
			t.Logf("broken off after %s with %v, stale file %q", after, err, strings.SplitN(string(pid), "\n", 2)[0])
		}
	}
}
