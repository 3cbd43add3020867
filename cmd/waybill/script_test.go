package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/spool"
	"github.com/waybillmq/waybill/internal/telemetry"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestMain lets the scripts run this very program: the test binary becomes waybill when it is called by that name.
func TestMain(m *testing.M) {
	testscript.Main(servers{m}, map[string]func(){"waybill": func() { os.Exit(execute()) }})
}

type servers struct{ m *testing.M }

// Run implements testscript.TestingM.
func (s servers) Run() int {
	code := s.m.Run()
	if err := errors.Join(testservices.CloseAll(), testservices.Goroutines()); err != nil {
		fmt.Fprintln(os.Stderr, "leftovers of the tests:", err)
		code = max(code, 1)
	}
	return code
}

// Every script in testdata/script runs against a database of its own. UPDATE_SCRIPTS=1 rewrites the golden parts.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Files: []string{file}, UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "", RequireExplicitExec: true,
				Setup: func(e *testscript.Env) error {
					pg := testservices.Postgres(t, 18)
					e.Setenv("DB", pg.URL)
					e.Setenv("NODB", strings.Replace(pg.URL, pg.Name, "nowhere", 1))
					e.Setenv("LOOK", regexp.MustCompile(`//[^@]*@`).ReplaceAllString(pg.URL, "//people_look:pw@"))
					e.Setenv("WAYBILL_DATABASE__URL", pg.URL)
					e.Setenv("KEY", "k\x1b[31m") // a key with a control character
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "sql": runSQL, "normal": normal, "listen": listen, "fillcache": fillCache, "hook": hook, "rot": rot, "owner": owner, "demonstration": demonstration},
			})
		})
	}
}

// exits CODE waybill ARGS… runs the program and checks its exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// sql FILE runs the statements of a file, or of its arguments.
func runSQL(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.Join(args, " ")
	if strings.HasSuffix(text, ".sql") {
		text = ts.ReadFile(text)
	}
	cfg, err := pgx.ParseConfig(ts.Getenv("DB"))
	ts.Check(err)
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	ctx := context.Background()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	ts.Check(err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, text)
	ts.Check(err)
}

// listen ready|stuck starts the listener of a relay that is in that state, and names it in the configuration.
func listen(ts *testscript.TestScript, _ bool, args []string) {
	beat := time.Now()
	if args[0] == "stuck" {
		beat = beat.Add(-time.Hour)
	}
	status := func() relay.Status {
		return relay.Status{Owner: true, Epoch: 7, Beats: map[string]time.Time{"reader": beat}}
	}
	t := telemetry.New(telemetry.Options{Outbox: "orders", Log: slog.New(slog.DiscardHandler)})
	s, err := telemetry.Listen("127.0.0.1:0", t.Handler("/metrics", func() telemetry.Health { return telemetry.Health{Status: status} }))
	ts.Check(err)
	ts.Defer(func() { ts.Check(s.Close(context.Background())) })
	ts.Setenv("WAYBILL_METRICS__LISTEN", s.Addr().String())
}

var (
	someTime = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z`)
	someUUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	someMS   = regexp.MustCompile(`"took_ms": [0-9.]+`)
)

// normal NAME writes the last output to a file, with what changes from run to run replaced by words.
func normal(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile("stdout")
	for re, word := range map[*regexp.Regexp]string{someTime: "TIME", someUUID: "UUID", someMS: `"took_ms": 0`} {
		text = re.ReplaceAllString(text, word)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// hook CODE starts a receiver of alerts that answers so, and names it in the configuration.
func hook(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
	ts.Defer(s.Close)
	ts.Setenv("HOOK", s.URL+"/token-canary")
}

// fillcache DIR MESSAGES ACKS keeps a degraded cache that was closed in order.
func fillCache(ts *testscript.TestScript, _ bool, args []string) {
	generations := []relay.Generation{{From: 1, UUID: "3f2a8c1e-5b7d-4e9f-8a6c-1d2e3f4a5b6c"}}
	s, _, err := spool.Open(spool.Config{FS: vfs.OS{}, Dir: ts.MkAbs(args[0]), MaxBytes: 16 << 20, MinFree: 1}, spool.Owner{System: 77, Generations: generations, Epoch: 3, Claimed: 500})
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	lane, lease := relay.CacheLane{Destination: "kafka-a", Lane: relay.Lane{Topic: "orders"}}, relay.Lease{Epoch: 3, Generations: generations}
	count, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := range count {
		_, err := s.Put(lease, lane, []*relay.Message{{ID: relay.ID(i + 11), MessageID: "m", Topic: "orders", Payload: []byte("canary"), Size: 6}})
		ts.Check(err)
	}
	acks, err := strconv.Atoi(args[2])
	ts.Check(err)
	for i := range acks {
		ts.Check(s.Acked(lease, lane, []relay.CachedAck{{ID: relay.ID(i + 11)}}))
	}
	cancel()
	ts.Check(<-ended)
}

// demonstration DIR LINE… answers orders in a folder with these lines, as one that runs does.
func demonstration(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o700))
	l, err := net.Listen("unix", filepath.Join(ts.MkAbs(args[0]), "control"))
	ts.Check(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(conn).ReadString('\n') // whatever is ordered
			for _, line := range args[1:] {
				fmt.Fprintln(conn, strings.Replace(line, " ", "\t", 1))
			}
			_ = conn.Close()
		}
	}()
	ts.Defer(func() { _ = l.Close(); <-done })
}

// rot FILE OFFSET turns a bit of a file.
func rot(ts *testscript.TestScript, _ bool, args []string) {
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	ts.Check(err)
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	ts.Check(errors.Join(err, f.Close()))
}

// owner runs operations, as a relay does whose broker takes everything, until the script ends.
func owner(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := pgx.Connect(ctx, ts.Getenv("DB"))
	ts.Check(err)
	ended := make(chan error, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, sql := range []string{`SELECT outbox.operation_step(id, 1, 500, handled) FROM outbox.operation WHERE state = 'running' AND handled < total`,
				`DELETE FROM outbox.message_held WHERE state = 'retrying' AND topic LIKE 'bulk.%'`, `SELECT outbox.operation_judge(id) FROM outbox.operation WHERE state = 'running'`,
				`SELECT outbox.operation_end(id, 'done', NULL) FROM outbox.operation WHERE state = 'running' AND handled = total`} {
				if _, err := conn.Exec(ctx, sql); err != nil {
					ended <- err
					return
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				ended <- nil
				return
			}
		}
	}()
	ts.Defer(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			ts.Logf("the owner: %v", err)
		}
		_ = conn.Close(context.Background()) // it may be closed already
	})
}
