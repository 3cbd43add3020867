package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), exitFailed}, {usage("x"), exitUsage}, {fmt.Errorf("x: %w", relay.ErrNotFound), exitNotFound}, {fmt.Errorf("x: %w", relay.ErrDenied), exitRefused},
		{relay.ErrBusy, exitRefused}, {migrations.ErrUnsent, exitRefused}, {&exitError{code: exitPartly}, exitPartly}, {context.DeadlineExceeded, exitTimedOut},
		{&relay.ConfigError{}, exitConfig}, {config.Problems{{Text: "x"}}, exitConfig},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%T %v: %d, want %d", c.err, c.err, got, c.want)
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	p := &program{in: strings.NewReader(""), out: &out, err: &errs, environ: []string{"WAYBILL_DATABASE__URL=postgres://u:canary@127.0.0.1:1/x"}}
	t.Chdir(t.TempDir())
	if code := p.run(ctx, []string{"status"}); code != exitInterrupted || strings.Contains(errs.String(), "canary") {
		t.Errorf("%d: %s", code, errs.String())
	}
}

func TestConfirmWithoutTerminal(t *testing.T) {
	var errs bytes.Buffer
	p := &program{in: strings.NewReader("y\n"), out: io.Discard, err: &errs}
	show := func(w io.Writer) { fmt.Fprintln(w, "the plan") }
	if err := p.confirm(false, false, show); exitCode(err) != exitRefused || !strings.Contains(errs.String(), "the plan") {
		t.Errorf("%v: %s", err, errs.String())
	}
	if err := p.confirm(true, false, show); err != nil {
		t.Error(err)
	}
}

func TestCells(t *testing.T) {
	if got := clean("a\x1b[31m\u202eb\tc"); got != `a\x1b[31m\u202eb\tc` {
		t.Errorf("%q", got)
	}
	for in, want := range map[string]string{"=1+1": "'=1+1", "-x": "'-x", "x": "x", "": "", "@a": "'@a", "\tx": "'\tx"} {
		if got := neutral(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestLoopback(t *testing.T) {
	for in, want := range map[string]string{"0.0.0.0:9464": "127.0.0.1:9464", ":9464": "127.0.0.1:9464", "[::]:1": "127.0.0.1:1", "10.0.0.1:1": "10.0.0.1:1", "localhost:1": "localhost:1"} {
		if got := loopback(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
