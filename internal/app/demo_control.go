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
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/embedded"
	"github.com/waybillmq/waybill/relay"
)

// ErrNoDemo means that no demonstration runs that could be told to break something.
var ErrNoDemo = errors.New("no demonstration with a bundled broker runs here: start one with waybill demo, in another terminal")

// controlFile is the socket in the folder of a demonstration over which it is told to break something.
const controlFile = "control"

// How the answer to an order ends: what stands behind the word is why it was not done.
const (
	orderDone    = "done"
	orderRefused = "refused\t"
	orderFailed  = "failed\t"
)

// DemoControl gives the newest running demonstration, or the one in dir, an order such as "break broker" or "fix", and copies what it says to out. *relay.StateError: it
// cannot be done now, and nothing was.
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
	return hearOut(conn, out)
}

// hearOut copies what a demonstration says until it has said how it ended.
func hearOut(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		if line == orderDone {
			return nil
		}
		if why, ok := strings.CutPrefix(line, orderRefused); ok {
			return &relay.StateError{Text: why}
		}
		if why, ok := strings.CutPrefix(line, orderFailed); ok {
			return errors.New(why)
		}
		fmt.Fprintln(out, line)
	}
	return errors.Join(errors.New("the demonstration has ended before it was done"), lines.Err())
}

// notNow refuses an order: what it is about is in a state in which that cannot be done.
func notNow(format string, args ...any) error {
	return &relay.StateError{Text: fmt.Sprintf(format, args...)}
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
func (d *demo) control(ctx context.Context, f *faults) (stop func()) {
	dir, err := d.place()
	if err != nil || f == nil {
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
			answer(work, f, conn)
		}
	}()
	return func() {
		cancel()
		_ = l.Close()
		<-done
	}
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// answer does what one connection asks for, and says what happened.
func answer(ctx context.Context, f *faults, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	order, err := bufio.NewReaderSize(conn, 64).ReadString('\n')
	if err != nil {
		return
	}
	say := func(format string, args ...any) { fmt.Fprintf(conn, format+"\n", args...) }
	var refused *relay.StateError
	switch err := f.obey(ctx, order, say); {
	case err == nil:
		say(orderDone)
	case errors.As(err, &refused):
		say("%s%s", orderRefused, oneLine(err))
	default:
		say("%s%s", orderFailed, oneLine(err))
	}
}
