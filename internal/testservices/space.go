package testservices

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// space is where the servers of one test process keep their data: a folder below the machine's folder for temporary files, held by a lock. A process that
// was killed leaves its folder; the next one removes every folder whose lock is free.
//
//	waybill-test-UID/              mode 0711: PostgreSQL's account passes through, nobody else lists it
//	  lock                         held while a run folder is made or swept
//	  run-RANDOM/lock, …           one test process each
//	  template-15.18/, .lock       a data folder to copy, made once per machine and version
//	  ports/21000 …                a file per port, held while a server may come back on it
type space struct {
	base string
	run  string
	lock *os.File
	next int
	mu   sync.Mutex // guards next
}

func newSpace() (*space, error) {
	base := filepath.Join(os.TempDir(), "waybill-test-"+strconv.Itoa(os.Geteuid()))
	for _, dir := range []string{base, filepath.Join(base, "ports")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, err
		}
	}
	if err := ownFolder(base); err != nil {
		return nil, err
	}
	guard, err := lockFile(filepath.Join(base, "lock"))
	if err != nil {
		return nil, err
	}
	defer guard.Close()
	sweep(base)
	s := &space{base: base}
	if s.run, err = os.MkdirTemp(base, "run-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.run, 0o711); err != nil {
		return nil, err
	}
	s.lock, err = lockFile(filepath.Join(s.run, "lock"))
	return s, err
}

// ownFolder refuses a folder that another user made where ours belongs: /tmp is everybody's.
func ownFolder(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(owner.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder of this user that nobody else can write to: remove it, or set TMPDIR to another folder", dir)
	}
	return os.Chmod(dir, 0o711)
}

func sweep(base string) {
	runs, _ := filepath.Glob(filepath.Join(base, "run-*"))
	for _, run := range runs {
		lock, err := tryLockFile(filepath.Join(run, "lock"))
		if err != nil {
			continue // its process lives
		}
		unmountBelow(run)
		os.RemoveAll(run) // best effort: what stays is swept by the next process
		lock.Close()
	}
}

// folder makes a new folder for one server.
func (s *space) folder(kind string) (string, error) {
	s.mu.Lock()
	s.next++
	dir := filepath.Join(s.run, fmt.Sprintf("%s-%d", kind, s.next))
	s.mu.Unlock()
	if err := os.Mkdir(dir, 0o711); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

func (s *space) close() error {
	return errors.Join(os.RemoveAll(s.run), s.lock.Close())
}

// port is a port on 127.0.0.1 that no other test process of this user takes, also while its server is down.
type port struct {
	number int
	lock   *os.File
}

// Below the ephemeral ports of Linux and macOS, so that no outgoing connection takes the port of a server that is down for a moment.
const firstPort, portCount = 21000, 7000

func (s *space) port() (*port, error) {
	start := rand.IntN(portCount)
	for i := range portCount {
		if p := s.take(firstPort + (start+i)%portCount); p != nil {
			return p, nil
		}
	}
	return nil, errNoPort
}

// brokerPorts are the three of a RocketMQ broker: the one it is told, the fast one two below, and the one for its slave right above.
func (s *space) brokerPorts() (ports [3]*port, err error) {
	start := rand.IntN(portCount)
search:
	for i := range portCount {
		n := firstPort + (start+i)%portCount
		for k, number := range []int{n + 2, n, n + 3} {
			if ports[k] = s.take(number); ports[k] == nil {
				for _, p := range ports[:k] {
					p.release()
				}
				continue search
			}
		}
		return ports, nil
	}
	return ports, errNoPort
}

var errNoPort = fmt.Errorf("no free port on 127.0.0.1 between %d and %d", firstPort, firstPort+portCount-1)

// take locks a port; nil when it is taken.
func (s *space) take(n int) *port {
	lock, err := tryLockFile(filepath.Join(s.base, "ports", strconv.Itoa(n)))
	if err != nil {
		return nil
	}
	if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(n))); err == nil {
		l.Close()
		return &port{number: n, lock: lock}
	}
	lock.Close()
	return nil
}

func (p *port) release() { p.lock.Close() }

func (p *port) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.number)) }

// lockFile opens a file and waits for its lock, which ends with Close or with the process.
func lockFile(name string) (*os.File, error) { return flock(name, syscall.LOCK_EX) }

func tryLockFile(name string) (*os.File, error) { return flock(name, syscall.LOCK_EX|syscall.LOCK_NB) }

func flock(name string, how int) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return file, nil
}

// lastLines is the end of a program's output, on one line, for an error message.
func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}
