package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/waybillmq/waybill/internal/child"
)

// What goes over a worker's pipes, one line each:
//
//	to it    the job as JSON, "go", "stop"
//	from it  "ready" when the job is prepared, the report as JSON when it is done
//
// The end of its input ends a worker at any time.
const (
	lineGo    = "go"
	lineStop  = "stop"
	lineReady = "ready"
)

// Work is the worker's side: it does one job that comes over in, and answers over out. A program that measures offers it as the command of
// Options.Worker.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := bufio.NewReader(in)
	var j job
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("a worker of bench takes its job over a pipe: %w", err)
	}
	if err := json.Unmarshal(first, &j); err != nil {
		return err
	}
	t, err := j.prepare(ctx)
	if err != nil {
		return answer(out, report{Error: err.Error()})
	}
	fmt.Fprintln(out, lineReady)
	if line, err := lines.ReadString('\n'); err != nil || line != lineGo+"\n" {
		return t.close()
	}
	timed, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		line, _ := lines.ReadString('\n')
		stop()
		if line == "" {
			cancel()
		}
	}()
	r, err := t.measure(timed, j.Profile)
	if err != nil {
		r.Error = err.Error()
	}
	err = answer(out, r)
	<-ended
	return errors.Join(err, t.close())
}

func answer(out io.Writer, r report) error { return json.NewEncoder(out).Encode(r) }

// worker is a process with one job.
type worker struct {
	process *child.Process
	in      *os.File
	out     *os.File
	lines   *bufio.Reader
}

// startWorker starts a process for j and waits until it is ready.
func startWorker(command []string, j *job) (_ *worker, err error) {
	if len(command) == 0 {
		return nil, errors.New("bench: no command for workers")
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirIn.Close(), in.Close())
	}
	w := &worker{in: in, out: out, lines: bufio.NewReader(out)}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirIn, theirOut, os.Stderr
	w.process, err = child.Start(cmd, syscall.SIGKILL)
	err = errors.Join(err, theirIn.Close(), theirOut.Close())
	if err == nil {
		err = w.prepare(j)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *worker) prepare(j *job) error {
	err := json.NewEncoder(w.in).Encode(j)
	var line string
	if err == nil {
		line, err = w.lines.ReadString('\n')
	}
	if err != nil {
		return fmt.Errorf("bench: a worker ended before it was ready: %w", err)
	}
	if line == lineReady+"\n" {
		return nil
	}
	_, err = parseReport(line)
	return err
}

// begin starts the timed part.
func (w *worker) begin() error {
	_, err := fmt.Fprintln(w.in, lineGo)
	return err
}

// result waits for the end of the timed part. The worker still holds its connections.
func (w *worker) result() (report, error) {
	line, err := w.lines.ReadString('\n')
	if err != nil {
		return report{}, fmt.Errorf("bench: a worker ended in the middle of its job: %w", err)
	}
	return parseReport(line)
}

func parseReport(line string) (r report, err error) {
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return r, fmt.Errorf("bench: a worker answered %q: %w", line, err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// stop asks a job without an end to finish.
func (w *worker) stop() (report, error) {
	if _, err := fmt.Fprintln(w.in, lineStop); err != nil {
		return report{}, fmt.Errorf("bench: a worker ended before it was asked to: %w", err)
	}
	return w.result()
}

// close ends the worker and waits until it has closed its connections.
func (w *worker) close() error {
	err := errors.Join(w.in.Close())
	if w.process != nil {
		<-w.process.Done()
		err = errors.Join(err, w.process.Err())
	}
	return errors.Join(err, w.out.Close())
}
