package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/waybillmq/waybill/internal/child"
)

// StartTimeout bounds Start when its context has no deadline: a kept data folder may have to recover from a crash first.
const StartTimeout = 60 * time.Second

// Config says where and how a server runs.
type Config struct {
	// Bin is the folder with initdb and postgres, as Find gives it.
	Bin string
	// Dir holds the data folder and the files beside it; made when absent, and used again when it holds data of the same major version. For root it
	// must be reachable by an unprivileged user: CacheDir is.
	Dir string
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// Settings of postgresql.conf beyond the defaults of this package.
	Settings map[string]string
	// NoFsync trades durability in a power cut for speed. For tests: the end of a process, also by kill -9, loses nothing with it either.
	NoFsync bool
}

// Server is a running PostgreSQL. Its methods may be called from any goroutine.
type Server struct {
	port     int
	password string
	folder   folder
	process  *child.Process

	release sync.Once // guards lock: both Stop and Kill give the folder back
	lock    *os.File
}

// Start makes the data folder unless it is kept, starts the server and returns when it accepts connections. ctx bounds the start only. The error says what
// failed with the server's own last lines.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, StartTimeout)
	defer cancel()
	inst, err := inspect(ctx, cfg.Bin)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL in %s: %w", cfg.Bin, err)
	}
	acct, err := RunAs()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, acct.folderMode()); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, acct.folderMode()); err != nil {
		return nil, err
	}
	s := &Server{folder: folder(dir)}
	if s.lock, err = s.folder.lock(); err != nil {
		return nil, err
	}
	if err := s.start(ctx, cfg, inst, acct); err != nil {
		s.unlock()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, cfg Config, inst Installation, acct Account) error {
	if err := s.folder.endPredecessor(ctx); err != nil {
		return err
	}
	password, err := s.folder.prepare(ctx, inst, acct, cfg.NoFsync)
	if err != nil {
		return err
	}
	settings := defaults(cfg.NoFsync)
	for name, value := range cfg.Settings {
		settings[name] = value
	}
	if err := s.folder.writeConfig(settings); err != nil {
		return err
	}
	s.password = password
	for attempt := 1; ; attempt++ {
		if s.port = cfg.Port; s.port == 0 {
			if s.port, err = freePort(); err != nil {
				return err
			}
		}
		err := s.run(ctx, inst, acct)
		// Between choosing a free port and listening on it another program may take it: then, and only then, once more.
		if err == nil || cfg.Port != 0 || attempt == 5 || portFree(s.port) {
			return err
		}
	}
}

// run starts the postmaster itself and not pg_ctl: as our own child it can be waited for, and ends with this program.
func (s *Server) run(ctx context.Context, inst Installation, acct Account) error {
	log, err := os.OpenFile(s.folder.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(inst.Bin, "postgres"), "-D", s.folder.data(), "--config-file="+s.folder.config(), "-p", strconv.Itoa(s.port))
	acct.Apply(cmd)
	cmd.Stdout, cmd.Stderr = log, log
	if s.process, err = child.Start(cmd, syscall.SIGQUIT); err != nil {
		return err
	}
	err = poll(ctx, func() bool {
		pid, state := s.folder.postmaster()
		return !s.process.Running() || pid == s.process.PID() && (state == "ready" || state == "standby")
	})
	if err == nil && s.process.Running() {
		return nil
	}
	if err == nil {
		err = s.process.Err()
	}
	return errors.Join(fmt.Errorf("PostgreSQL %s did not start on port %d: %w: %s", inst.Version(), s.port, err, s.said(begin)), s.Kill())
}

// said is the end of what the server logged since it was started.
func (s *Server) said(since int64) string {
	log, err := os.Open(s.folder.log())
	if err != nil {
		return err.Error()
	}
	defer log.Close()
	text, err := io.ReadAll(io.NewSectionReader(log, since, 1<<20))
	if err != nil {
		return err.Error()
	}
	return lastLines(text, 5)
}

// Port is the server's port on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// PID is the process id of the postmaster.
func (s *Server) PID() int { return s.process.PID() }

// LogFile is where the server logs.
func (s *Server) LogFile() string { return s.folder.log() }

// URL names the database for the superuser postgres. It holds the password: it must not reach a log.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", s.password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path: "/" + database, RawQuery: "sslmode=disable"}
	return u.String()
}

// Done is closed when the server has ended, by whatever cause.
func (s *Server) Done() <-chan struct{} { return s.process.Done() }

// Stop ends the server cleanly: it breaks off running transactions, writes a checkpoint and ends. When ctx ends first the server is stopped as in a crash,
// and the error says so; the data recovers at the next start. A server that has already ended is not an error.
func (s *Server) Stop(ctx context.Context) error {
	if err := s.process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	select {
	case <-s.process.Done():
		s.unlock()
		return nil
	case <-ctx.Done():
		err := fmt.Errorf("PostgreSQL on port %d did not stop in time and was ended as in a crash: %w", s.port, ctx.Err())
		return errors.Join(err, s.Kill())
	}
}

// Kill ends the postmaster with kill -9 and returns when it and all its backends are gone, so that the same folder can be started again at once.
func (s *Server) Kill() error {
	// Stopped first, it can fork no backend between the counting and the end.
	if err := s.process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	backends := child.Children(s.process.PID())
	if err := s.process.Kill(); err != nil {
		return err
	}
	// A backend notices the death of the postmaster only when it next waits; until the last is gone the data folder counts as in use.
	for _, pid := range backends {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill a backend of PostgreSQL on port %d: %w", s.port, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, pid := range backends {
		if err := poll(ctx, func() bool { return !child.Alive(pid) }); err != nil {
			return fmt.Errorf("backend %d of PostgreSQL on port %d is still there: %w", pid, s.port, err)
		}
	}
	s.unlock()
	return nil
}

func (s *Server) unlock() { s.release.Do(func() { s.lock.Close() }) }

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("no free port on 127.0.0.1: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func portFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	l.Close()
	return true
}
