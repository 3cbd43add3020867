package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// A person stops the broker of a running demonstration, sees that messages wait, starts it again, and all of them are sent; the proof at the end counts them.
func TestDemoIsBrokenAndFixed(t *testing.T) {
	dir := demoFolder(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type ended struct {
		DemoResult
		err error
	}
	done := make(chan ended, 1)
	go func() {
		r, err := Demo(ctx, DemoOptions{Dir: dir, PgBin: testservices.PostgresBin(t, 18), Rate: 100, LogTo: testWriter{t}, Progress: testWriter{t}, Version: "test"})
		done <- ended{r, err}
	}()
	order := func(what string) string {
		t.Helper()
		var said bytes.Buffer
		if err := DemoControl(t.Context(), dir, what, &said); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return said.String()
	}
	refused := func(what, why string) {
		t.Helper()
		var said bytes.Buffer
		var state *relay.StateError
		if err := DemoControl(t.Context(), dir, what, &said); !errors.As(err, &state) || !strings.Contains(err.Error(), why) || said.Len() > 0 {
			t.Errorf("%s: %v, said %q; want it refused: %s", what, err, said.String(), why)
		}
	}
	within(t, 30*time.Second, "the demonstration runs", func() bool {
		err := DemoControl(t.Context(), dir, "fix", io.Discard)
		return err != nil && strings.Contains(err.Error(), "nothing is broken")
	})
	if said := order("break"); !strings.Contains(said, "is stopped") {
		t.Fatal(said)
	}
	refused("break", "is stopped already")
	lasts(t, 3*time.Second) // the outage
	if said := order("fix"); !strings.Contains(said, "messages waited") || !strings.Contains(said, "all of them are sent") || strings.Contains(said, " 0 messages waited") {
		t.Error(said)
	}
	refused("nonsense", "knows only break and fix")
	refused("fix broker", "the broker runs")
	outbox, err := pgx.Connect(ctx, databaseOf(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	held := func(state string) (n int) {
		if err := outbox.QueryRow(ctx, `SELECT count(*) FROM outbox.message_held WHERE state = $1`, state).Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	if said := order("break message"); !strings.Contains(said, "takes messages of") {
		t.Fatal(said)
	}
	refused("break message", "low already")
	within(t, 30*time.Second, "messages are dead, and others wait behind them", func() bool { return held("dead") > 2 && held("blocked") > 0 })
	if _, err := outbox.Exec(ctx, `UPDATE outbox.limits SET max_bytes = 1 WHERE topic = $1`, demoTightTopic); err != nil { // as if ten minutes were over
		t.Fatal(err)
	}
	if said := order("fix"); !strings.Contains(said, "is restored") || !strings.Contains(said, "waybill demo fix message --retry") || !strings.Contains(said, "http://127.0.0.1:") {
		t.Error(said)
	}
	var limit int
	if err := outbox.QueryRow(ctx, `SELECT max_bytes FROM outbox.limits WHERE topic = $1`, demoTightTopic).Scan(&limit); err != nil || limit < 1_000_000 {
		t.Errorf("the outbox keeps a limit of %d, %v", limit, err)
	}
	if said := order("fix message retry"); !strings.Contains(said, "sent (operation 1)") {
		t.Error(said)
	}
	within(t, 30*time.Second, "nothing is held", func() bool { return held("dead")+held("blocked") == 0 })
	if said := order("fix message retry"); !strings.Contains(said, "nothing is dead") {
		t.Error(said)
	}
	if err := outbox.Close(ctx); err != nil {
		t.Error(err)
	}
	if said := order("break database"); !strings.Contains(said, "PostgreSQL is stopped") {
		t.Fatal(said)
	}
	refused("break database", "is stopped already")
	refused("fix broker", "the broker runs")
	if said := order("fix database"); !strings.Contains(said, "runs again") || !strings.Contains(said, "everything that is committed is sent") {
		t.Error(said)
	}
	refused("fix database", "the database runs")
	if said := order("break database"); !strings.Contains(said, "PostgreSQL is stopped") { // and left so: the end starts it again, first of all
		t.Error(said)
	}
	if said := order("break message"); !strings.Contains(said, "takes messages of") { // and left so: the end restores it
		t.Fatal(said)
	}
	if said := order("break"); !strings.Contains(said, "is stopped") { // and left so: the end starts it again
		t.Error(said)
	}
	cancel()
	r := <-done
	if r.err != nil || r.Written < 100 || r.Sent+r.Pending != r.Written || r.Stored != r.Sent || r.Lost+r.Phantom+r.OutOfOrder+r.Duplicates > 0 {
		t.Errorf("%+v", r)
	}
	if err := DemoControl(t.Context(), dir, "break", &bytes.Buffer{}); !errors.Is(err, ErrNoDemo) {
		t.Errorf("when it has ended: %v", err)
	}
}

// How an order ended is what it is told as: done, refused, failed; and an answer that is cut is none of these.
func TestHowAnOrderEnds(t *testing.T) {
	var state *relay.StateError
	for in, ok := range map[string]func(error) bool{
		"a\ndone\n":             func(err error) bool { return err == nil },
		"a\nrefused\tit runs\n": func(err error) bool { return errors.As(err, &state) && err.Error() == "it runs" },
		"a\nfailed\tit broke\n": func(err error) bool { return err != nil && !errors.As(err, &state) && err.Error() == "it broke" },
		"a\n":                   func(err error) bool { return err != nil && strings.Contains(err.Error(), "has ended before") },
	} {
		var said bytes.Buffer
		if err := hearOut(strings.NewReader(in), &said); !ok(err) || said.String() != "a\n" {
			t.Errorf("%q: %v, said %q", in, err, said.String())
		}
	}
}

// databaseOf is the database of the demonstration that runs in a folder.
func databaseOf(t *testing.T, dir string) string {
	t.Helper()
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	port := strings.Split(string(pid), "\n")[3] // PostgreSQL's src/include/utils/pidfile.h
	return "postgres://postgres:" + strings.TrimSpace(string(password)) + "@127.0.0.1:" + port + "/waybill_demo"
}
