package testservices

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/embedded"
)

// PGServer is a PostgreSQL of its own: to kill, restart and promote. Its methods may be called from any goroutine, but two that start or stop it not at the
// same time.
type PGServer struct {
	dir      string
	port     *port
	inst     embedded.Installation
	cfg      embedded.Config
	standbys int

	mu     sync.Mutex // guards server
	server *embedded.Server
}

// Option changes how a PostgreSQL server runs.
type Option func(*embedded.Config)

// Fsync turns fsync on: for figures, not for correctness, since kill -9 loses nothing without it.
func Fsync() Option { return func(c *embedded.Config) { c.NoFsync = false } }

// Setting sets a line of postgresql.conf.
func Setting(name, value string) Option {
	return func(c *embedded.Config) { c.Settings[name] = value }
}

// PostgresServer starts a server of PostgreSQL major (15 or 18) for this test alone and stops it at the end of the test. Defaults: wal_level logical, 200
// connections, fsync off.
func PostgresServer(tb testing.TB, major int, opts ...Option) *PGServer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := NewPostgres(ctx, major, opts...)
	if err != nil {
		tb.Fatalf("PostgreSQL %d cannot be started: %v", major, err)
	}
	closeAtEnd(tb, s)
	return s
}

// NewPostgres is PostgresServer outside of tests: whoever calls it also calls Close.
func NewPostgres(ctx context.Context, major int, opts ...Option) (*PGServer, error) {
	inst, err := postgresBinaries(ctx, major)
	if err != nil {
		return nil, err
	}
	space, err := processSpace()
	if err != nil {
		return nil, err
	}
	s := &PGServer{inst: inst, cfg: embedded.Config{Bin: inst.Bin, NoFsync: true, Settings: map[string]string{
		"wal_level": "logical", "max_connections": "200", "max_wal_senders": "20", "max_replication_slots": "20"}}}
	for _, opt := range opts {
		opt(&s.cfg)
	}
	if err := s.place(space); err != nil {
		return nil, err
	}
	if err := copyTemplate(ctx, space, inst, s.dir); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *PGServer) place(space *space) (err error) {
	if s.dir, err = space.folder("postgres"); err != nil {
		return err
	}
	if s.port, err = space.port(); err != nil {
		return err
	}
	s.cfg.Dir, s.cfg.Port = s.dir, s.port.number
	opened(s)
	return nil
}

// String names the server without its password.
func (s *PGServer) String() string {
	return fmt.Sprintf("PostgreSQL %s on %s", s.inst.Version(), s.port.address())
}

// URL names a database for the superuser. It is valid while the server is down, too, and after a restart.
func (s *PGServer) URL(database string) string { return s.running().URL(database) }

// Port is the server's port on 127.0.0.1; it stays the same over restarts.
func (s *PGServer) Port() int { return s.port.number }

// PID is the process id of the postmaster started last.
func (s *PGServer) PID() int { return s.running().PID() }

// LogFile is where the server logs.
func (s *PGServer) LogFile() string { return s.running().LogFile() }

func (s *PGServer) running() *embedded.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// Start starts a server that was stopped or killed, on the same data and port, and returns when it accepts connections.
func (s *PGServer) Start() error {
	ctx, cancel := context.WithTimeout(context.Background(), embedded.StartTimeout)
	defer cancel()
	server, err := embedded.Start(ctx, s.cfg)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = server
	return nil
}

// Stop shuts the server down fast: transactions are broken off, a checkpoint is written.
func (s *PGServer) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return s.running().Stop(ctx)
}

// Kill9 kills the postmaster with kill -9 and returns when it and its backends are gone: what a crash of the machine does to the processes, except that what
// was written to files stays written.
func (s *PGServer) Kill9() error { return s.running().Kill() }

// Close stops the server and removes its data.
func (s *PGServer) Close() error {
	var err error
	if server := s.running(); server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if server.Stop(ctx) != nil { // a client or a standby holds it up; the data is thrown away anyway
			err = server.Kill()
		}
	}
	s.removeSharedMemory()
	err = errors.Join(err, os.RemoveAll(s.dir))
	s.port.release()
	closed(s)
	return err
}

// removeSharedMemory frees the System V segment that a postmaster leaves when it is killed and not started again; line 7 of postmaster.pid has its id.
// Best effort: it is one page.
func (s *PGServer) removeSharedMemory() {
	raw, err := os.ReadFile(filepath.Join(s.dir, "data", "postmaster.pid"))
	if err != nil {
		return // stopped cleanly
	}
	if lines := strings.Split(string(raw), "\n"); len(lines) >= 7 {
		if ids := strings.Fields(lines[6]); len(ids) == 2 {
			_ = exec.Command("ipcrm", "-m", ids[1]).Run()
		}
	}
}

// StandbyMode says whether commits wait for a standby.
type StandbyMode int

// The modes of a standby.
const (
	Async StandbyMode = iota // commits do not wait
	Sync                     // commits wait until the standby has flushed them
)

// Standby makes a streaming standby of the server and stops it at the end of the test.
func (s *PGServer) Standby(tb testing.TB, mode StandbyMode) *PGServer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	standby, err := s.NewStandby(ctx, mode)
	if err != nil {
		tb.Fatalf("no standby of %s: %v", s, err)
	}
	closeAtEnd(tb, standby)
	return standby
}

// NewStandby is Standby outside of tests: whoever calls it also calls Close.
func (s *PGServer) NewStandby(ctx context.Context, mode StandbyMode) (*PGServer, error) {
	space, err := processSpace()
	if err != nil {
		return nil, err
	}
	s.standbys++
	name := fmt.Sprintf("standby%d", s.standbys)
	standby := &PGServer{inst: s.inst, cfg: s.cfg}
	standby.cfg.Settings = maps.Clone(s.cfg.Settings)
	if err := standby.place(space); err != nil {
		return nil, err
	}
	if err := s.clone(ctx, standby, name); err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	if err := standby.Start(); err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	if err := s.awaitStandby(ctx, standby, name, mode); err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	return standby, nil
}

// clone copies the data folder with pg_basebackup, which also writes the connection to the primary into it.
func (s *PGServer) clone(ctx context.Context, standby *PGServer, name string) error {
	acct, err := embedded.RunAs()
	if err != nil {
		return err
	}
	data := filepath.Join(standby.dir, "data")
	password, err := os.ReadFile(filepath.Join(s.dir, "password"))
	if err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(data, 0o700), acct.Give(data), os.WriteFile(filepath.Join(standby.dir, "password"), password, 0o600)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.inst.Bin, "pg_basebackup"), "-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync", "-C", "-S", name,
		"-d", fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres application_name=%s", s.port.number, name))
	acct.Apply(cmd)
	cmd.Env = append(cmd.Env, "PGPASSWORD="+strings.TrimSpace(string(password)))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w: %s", err, lastLines(out, 3))
	}
	return nil
}

func (s *PGServer) awaitStandby(ctx context.Context, standby *PGServer, name string, mode StandbyMode) error {
	// The copy of a primary with a synchronous standby must not wait for that one after its promotion.
	if err := standby.exec("postgres", "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	want := "async"
	if mode == Sync { // only now: before the standby streams, every commit would wait for it
		want = "sync"
		if err := s.exec("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ("+name+")'", "SELECT pg_reload_conf()"); err != nil {
			return err
		}
	}
	check := fmt.Sprintf(`SELECT 1 / count(*) FROM pg_stat_replication WHERE application_name = '%s' AND state = 'streaming' AND sync_state = '%s'`, name, want)
	err := until(ctx, func() (bool, error) { return s.exec("postgres", check) == nil, nil })
	if err != nil {
		return fmt.Errorf("%s did not become a streaming standby (%s): %w", standby, want, err)
	}
	return nil
}

// Promote makes a standby the primary and returns when it takes writes. The old primary is not touched: stop or kill it before.
func (s *PGServer) Promote() error {
	return s.exec("postgres", "SELECT 1 / pg_promote(true, 60)::int")
}

// closeAtEnd closes a server with its test.
func closeAtEnd(tb testing.TB, s server) {
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("stop %s: %v", s, err)
		}
	})
}
