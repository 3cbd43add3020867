package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/waybillmq/waybill/internal/embedded"
)

// ErrNoDemo means that no demonstration runs that could be told to break something.
var ErrNoDemo = errors.New("no demonstration with a bundled broker runs here: start one with waybill demo, in another terminal")

// controlFile is the socket in the folder of a demonstration over which it is told to break something.
const controlFile = "control"

const (
	orderBreak = "break"
	orderFix   = "fix"
)

// DemoControl tells the newest running demonstration, or the one in dir, to break or to fix its broker, and copies what it says to out.
func DemoControl(ctx context.Context, dir, order string, out io.Writer) error {
	conn, err := dialDemo(ctx, dir)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := fmt.Fprintln(conn, order); err != nil {
		return fmt.Errorf("the demonstration does not answer: %w", err)
	}
	if _, err := io.Copy(out, conn); err != nil {
		return fmt.Errorf("the demonstration has ended: %w", err)
	}
	return nil
}

func dialDemo(ctx context.Context, dir string) (net.Conn, error) {
	files := []string{filepath.Join(dir, controlFile)}
	if dir == "" {
		cache, err := embedded.CacheDir()
		if err != nil {
			return nil, err
		}
		if files, err = filepath.Glob(filepath.Join(cache, "demo-*", controlFile)); err != nil {
			return nil, err
		}
		slices.SortFunc(files, func(a, b string) int { return modified(b).Compare(modified(a)) })
	}
	for _, file := range files { // one that was killed left its socket behind
		var d net.Dialer
		if conn, err := d.DialContext(ctx, "unix", file); err == nil {
			return conn, nil
		}
	}
	return nil, ErrNoDemo
}

func modified(file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// control takes orders until the returned function is called. A folder whose name is too long for a socket is no reason to show nothing.
func (d *demo) control(ctx context.Context, b *demoBundled, shop *shop) (stop func()) {
	dir, err := d.place()
	if err != nil {
		return func() {}
	}
	file := filepath.Join(dir, controlFile)
	_ = os.Remove(file) // of a demonstration in the same folder that was killed; ours would not have started beside one that runs
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", file)
	if err == nil {
		err = os.Chmod(file, 0o600)
	}
	if err != nil {
		fmt.Fprintf(d.Progress, "  ! waybill demo break will not find this demonstration: %v\n", err)
		return func() {}
	}
	work, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.obey(work, b, shop, conn)
		}
	}()
	return func() {
		cancel()
		_ = l.Close()
		<-done
	}
}

// obey does what one connection asks for, and says what happened.
func (d *demo) obey(ctx context.Context, b *demoBundled, shop *shop, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	order, err := bufio.NewReaderSize(conn, 64).ReadString('\n')
	if err != nil {
		return
	}
	say := func(format string, args ...any) { fmt.Fprintf(conn, format+"\n", args...) }
	switch order {
	case orderBreak + "\n":
		err = breakBroker(b, say)
	case orderFix + "\n":
		err = fixBroker(ctx, b, shop, say)
	default:
		err = errors.New("it knows only break and fix")
	}
	if err != nil {
		say("  ! %v", err)
	}
}

func breakBroker(b *demoBundled, say func(string, ...any)) error {
	if b.down() {
		return errors.New("the broker is stopped already: waybill demo fix starts it again")
	}
	if err := b.halt(); err != nil {
		return err
	}
	say("  ✓ the bundled broker is stopped. The shop goes on. The relay probes it; no message loses an attempt, and what comes waits in its degraded cache.")
	say("    see it on the dashboard.   put it right: waybill demo fix")
	return nil
}

// fixBroker starts the broker again and waits until what waited is sent.
func fixBroker(ctx context.Context, b *demoBundled, shop *shop, say func(string, ...any)) error {
	if !b.down() {
		return errors.New("nothing is broken: waybill demo break stops the broker")
	}
	last, err := shop.newestID(ctx)
	if err != nil {
		return err
	}
	waited, err := shop.unsent(ctx, last)
	if err != nil {
		return err
	}
	if err := b.resume(ctx); err != nil {
		return err
	}
	say("  ✓ the bundled broker runs again; %d messages waited", waited)
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for left := waited; left > 0; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if left, err = shop.unsent(ctx, last); err != nil {
			return err
		}
	}
	say("  ✓ all of them are sent, %.1f s after it came back. The proof comes when the demonstration stops", time.Since(began).Seconds())
	return nil
}
