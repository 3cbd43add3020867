package testservices

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/waybillmq/waybill/internal/child"
)

// daemon is a server process that writes a log file, and may be ended, paused and started again.
type daemon struct {
	name string // what it is called in errors
	dir  string

	mu      sync.Mutex // guards process and paused
	process *child.Process
	paused  bool
}

// startWork is how much processor time a node may use before it serves: ten times what it needs. It is no time on a clock, because a node on a busy machine
// is slow and well; one that waits and does nothing is ended by the caller's context.
const startWork = 60 * time.Second

// awaitReady waits as long as the node lives, has not used startWork, and ctx allows.
func (d *daemon) awaitReady(ctx context.Context, since int64, ready string) error {
	var text []byte
	var worked time.Duration
	begun := time.Now()
	err := until(ctx, func() (bool, error) {
		up := d.up() // before the log is read: what it said last counts
		if up {
			worked = processorTime(d.pid())
		}
		raw, err := os.ReadFile(d.log())
		if err != nil {
			return false, err
		}
		text = raw[since:]
		switch {
		case bytes.Contains(text, []byte(ready)):
			return true, nil
		case !up:
			return false, fmt.Errorf("it ended (%w)", cmp.Or(d.exit(), errors.New("without an error")))
		case worked > startWork:
			return false, errors.New("it works without getting there")
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("%s is not ready after %v and %v of processor time: %w: %s", d.name, time.Since(begun).Round(time.Millisecond),
			worked, err, lastLines(withoutFrames(text), 5))
	}
	return nil
}

// withoutFrames leaves the lines out that say where in Java an error was thrown, and keeps those that say what it is.
func withoutFrames(text []byte) (kept []byte) {
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte("\tat ")) {
			kept = append(kept, line...)
		}
	}
	return kept
}

// processorTime is what a process has used in all its threads; zero where the system does not tell, or when the process is gone (proc_pid_stat(5), utime
// and stime, always in hundredths of a second).
func processorTime(pid int) time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	var total time.Duration
	for _, ticks := range fields[11:13] {
		n, err := strconv.ParseInt(ticks, 10, 64)
		if err != nil {
			return 0
		}
		total += time.Duration(n) * 10 * time.Millisecond
	}
	return total
}

func (d *daemon) log() string { return filepath.Join(d.dir, "log") }

// temporary is where a JVM unpacks its libraries and writes keys. Whoever is killed cannot tidy up; so they lie beside the data and go with it.
func (d *daemon) temporary() string { return filepath.Join(d.dir, "tmp") }

func (d *daemon) temporaryFlag() string { return "-Djava.io.tmpdir=" + d.temporary() }

func (d *daemon) pid() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process.PID()
}

// exit is how the node ended; nil while it runs.
func (d *daemon) exit() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process.Running() {
		return nil
	}
	return d.process.Err()
}

func (d *daemon) up() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process != nil && d.process.Running()
}

// serving says whether the node is up and not paused.
func (d *daemon) serving() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process != nil && d.process.Running() && !d.paused
}

func (d *daemon) signal(sig syscall.Signal) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process == nil {
		return nil
	}
	if d.paused && sig != syscall.SIGKILL { // a stopped process acts on no other signal
		if err := d.process.Signal(syscall.SIGCONT); err != nil {
			return err
		}
	}
	d.paused = false
	return d.process.Signal(sig)
}

func (d *daemon) pause(on bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process == nil || !d.process.Running() {
		return fmt.Errorf("%s is down: it can be neither paused nor resumed", d.name)
	}
	sig := syscall.SIGCONT
	if on {
		sig = syscall.SIGSTOP
	}
	d.paused = on
	return d.process.Signal(sig)
}

var ended = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (d *daemon) done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process == nil {
		return ended
	}
	return d.process.Done()
}

// launch starts cmd without waiting for it, and returns where in the log file this run begins.
func (d *daemon) launch(cmd *exec.Cmd) (begin int64, err error) {
	log, err := os.OpenFile(d.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	if begin, err = log.Seek(0, io.SeekEnd); err != nil {
		return 0, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process, err = child.Start(cmd, syscall.SIGKILL)
	d.paused = false
	return begin, err
}
