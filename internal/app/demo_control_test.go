package app

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
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
	within(t, 30*time.Second, "the demonstration runs", func() bool {
		var said bytes.Buffer
		return DemoControl(t.Context(), dir, "fix", &said) == nil && strings.Contains(said.String(), "nothing is broken")
	})
	if said := order("break"); !strings.Contains(said, "is stopped") {
		t.Fatal(said)
	}
	if said := order("break"); !strings.Contains(said, "is stopped already") {
		t.Error(said)
	}
	lasts(t, 3*time.Second) // the outage
	if said := order("fix"); !strings.Contains(said, "messages waited") || !strings.Contains(said, "all of them are sent") || strings.Contains(said, " 0 messages waited") {
		t.Error(said)
	}
	if said := order("nonsense"); !strings.Contains(said, "knows only break and fix") {
		t.Error(said)
	}
	if said := order("break"); !strings.Contains(said, "is stopped") { // and left so: the end starts it again
		t.Error(said)
	}
	cancel()
	r := <-done
	if r.err != nil || r.Written < 100 || r.Sent != r.Written || r.Stored != r.Written || r.Lost+r.Phantom+r.OutOfOrder+r.Duplicates > 0 {
		t.Errorf("%+v", r)
	}
	if err := DemoControl(t.Context(), dir, "break", &bytes.Buffer{}); !errors.Is(err, ErrNoDemo) {
		t.Errorf("when it has ended: %v", err)
	}
}
