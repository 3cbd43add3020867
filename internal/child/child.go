// Package child runs a process that never outlives this program: where the kernel allows it (Linux), it ends even when this program is killed with
// kill -9. It knows nothing of what it runs; restarting, readiness and log files are the caller's.
package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// Process is a started child. All methods may be called from any goroutine.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // written before done is closed, read after
}

// Start starts cmd, whose Stdout and Stderr must be files or nil. onDeath is the signal that the kernel sends the child when this program ends without
// stopping it (Linux only; elsewhere such a child is left, and the caller has to look for it at its next start).
//
// The child gets a process group of its own: Ctrl-C in a terminal reaches this program alone, which then stops its children in its own order.
func Start(cmd *exec.Cmd, onDeath syscall.Signal) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	setDeathSignal(cmd.SysProcAttr, onDeath)
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.supervise(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	return p, nil
}

// supervise starts the child and waits for it on one operating system thread: the kernel binds the death signal to the thread that forked, not to the
// program, so that thread has to live as long as the child (prctl(2), PR_SET_PDEATHSIG).
func (p *Process) supervise(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// PID is the process id. It stays reserved until Done is closed.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the child has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the child ended: nil for exit code 0. It must be called only after Done is closed.
func (p *Process) Err() error { return p.err }

// Running says whether the child has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends sig. A child that has already ended is not an error.
func (p *Process) Signal(sig syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return fmt.Errorf("signal %s to %s: %w", sig, filepath.Base(p.cmd.Path), err)
}

// Kill sends SIGKILL and waits until the child is gone.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}
