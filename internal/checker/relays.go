package checker

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/waybillmq/waybill/internal/child"
	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
)

// Tuning is how the relays of a run are configured: short leases make many changes of owner.
type Tuning struct {
	Lease         time.Duration `json:"lease"`
	Write         time.Duration `json:"write"` // W and U
	Quarantine    time.Duration `json:"quarantine"`
	Publish       time.Duration `json:"publish"` // deadline of an answer
	Batch         int           `json:"batch"`   // B
	SettleBatches int           `json:"settle_batches"`
	MaxAttempts   int           `json:"max_attempts"`
	RetryInitial  time.Duration `json:"retry_initial"`
}

// relays keeps the relay processes of one outbox alive: what ends is started again, unless told otherwise.
type relays struct {
	binary  string
	url     string
	brokers []string
	tuning  Tuning
	bug     kp.Bug
	dir     string // log files
	name    string
	apart   bool // each relay has a way to the database of its own

	mu     sync.Mutex
	slots  []*slot
	starts int
	closed bool
	keep   sync.WaitGroup
}

// slot is the place of one relay.
type slot struct {
	cache    string          // folder of its degraded cache
	url      string          // of its database
	link     *tcpproxy.Proxy // the way there; nil = none of its own
	process  *child.Process
	instance string
	next     string // WAYBILL_KILL of the next start, then empty
	kill     string // of the running process
	between  func() // done once it has ended and before it is started again, then nil
	ended    chan struct{}
	byPoint  int  // times it ended at its kill point
	asked    bool // to stop: a second SIGTERM would end it at once
	other    []string
}

// start runs n relays.
func (r *relays) start(n int) error {
	for i := range n {
		s := &slot{url: r.url, cache: filepath.Join(r.dir, fmt.Sprintf("%s-r%d-cache", r.name, i))}
		if r.apart {
			if err := s.apart(r.url); err != nil {
				return err
			}
		}
		r.slots = append(r.slots, s)
		if err := r.launch(s, i); err != nil {
			return err
		}
		r.keep.Go(func() { r.watch(s, i) })
	}
	return nil
}

func (r *relays) launch(s *slot, at int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.starts++
	s.kill, s.next, s.asked = s.next, "", false
	s.instance = fmt.Sprintf("%s-r%d-%d", r.name, at, r.starts)
	config := filepath.Join(r.dir, fmt.Sprintf("%s-r%d.yaml", r.name, at))
	if err := os.WriteFile(config, r.config(s.instance, s.cache), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(r.binary, "run", "--config", config)
	cmd.Env = append(os.Environ(), "WAYBILL_CHAOS_URL="+s.url, "WAYBILL_KILL="+s.kill, "WAYBILL_BUG="+string(r.bug), "GOMAXPROCS=2")
	log, err := os.OpenFile(filepath.Join(r.dir, fmt.Sprintf("%s-r%d.log", r.name, at)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own copy
	cmd.Stdout, cmd.Stderr = log, log
	if s.process, err = child.Start(cmd, syscall.SIGKILL); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	return nil
}

// config is the config.yaml of one relay: the tuning of the run, and no write limits, so that poisoned messages reach the broker.
func (r *relays) config(instance, cache string) []byte {
	t := r.tuning
	brokers, err := json.Marshal(r.brokers)
	if err != nil {
		panic(err) // a list of strings
	}
	return fmt.Appendf(nil, `version: 1
name: %s
database: { url: { env: WAYBILL_CHAOS_URL }, timeouts: { connect: 2s } }
relay:
  instance: %s
  lease: %s
  write_timeout: %s
  tcp_user_timeout: %s
  quarantine: %s
  settle: { max_batches_per_lane: %d }
  write_limits: false
  shutdown_timeout: 5s
retry: { initial: %s, cap: 2s, max_attempts: %d }
breaker: { probe_cap: 500ms }
cache: { dir: %q, max_bytes: %dMiB, min_free: 1MiB }
destinations:
  kafka:
    kind: kafka
    brokers: %s
    batch: { max_messages: %d }
    timeouts: { publish: %s, broker: %s }
routes:
  - { name: all, match: {}, to: { destination: kafka } }
metrics: { listen: "127.0.0.1:0" }
dashboard: { listen: none }
logs: { level: info }
`, r.name, instance, ms(t.Lease), ms(t.Write), ms(t.Write), ms(t.Quarantine), t.SettleBatches, ms(t.RetryInitial), t.MaxAttempts, cache, cacheBytes>>20, brokers, t.Batch, ms(t.Publish), ms(t.Publish/2))
}

func ms(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// watch starts the relay of a slot again whenever it has ended.
func (r *relays) watch(s *slot, at int) {
	for {
		r.mu.Lock()
		p := s.process
		r.mu.Unlock()
		<-p.Done()
		r.mu.Lock()
		var exit *exec.ExitError
		killed := errors.As(p.Err(), &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		switch {
		case s.kill != "" && killed:
			s.byPoint++
		case !killed && p.Err() != nil:
			s.other = append(s.other, fmt.Sprintf("%s: %v", s.instance, p.Err()))
		}
		between := s.between
		s.between = nil
		close(s.ended)
		closed := r.closed
		r.mu.Unlock()
		if closed {
			return
		}
		if between != nil {
			between()
		}
		if !killed && p.Err() != nil {
			time.Sleep(time.Second) // it would end at once again
		}
		if err := r.launch(s, at); err != nil {
			r.mu.Lock()
			s.other = append(s.other, err.Error())
			r.mu.Unlock()
			return
		}
		r.mu.Lock()
		closed = r.closed
		r.mu.Unlock()
		if closed {
			return
		}
	}
}

// find returns the slot whose relay is the owner, nil when it does not live any more. An owner is an instance and a random part.
func (r *relays) find(owner string) *slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		if strings.HasPrefix(owner, s.instance+"/") {
			return s
		}
	}
	return nil
}

// signal sends a signal to the relay of a slot and returns the channel that is closed when that process has ended.
func (r *relays) signal(s *slot, sig syscall.Signal) (ended <-chan struct{}, err error) {
	r.mu.Lock()
	p, ended := s.process, s.ended
	r.mu.Unlock()
	return ended, p.Signal(sig)
}

// stopOnce asks the relay of a slot to stop, once, and arms its next start in case it stops without passing the point.
func (r *relays) stopOnce(s *slot, point kp.Point) error {
	r.mu.Lock()
	asked := s.asked
	s.asked = true
	r.mu.Unlock()
	if asked {
		return nil
	}
	r.arm(s, point, 1)
	_, err := r.signal(s, syscall.SIGTERM)
	return err
}

// arm makes the next start of a slot end at a kill point.
func (r *relays) arm(s *slot, point kp.Point, pass int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.next = fmt.Sprintf("%s:%d", point, pass)
}

// beforeNext has something done between the end of the relay of a slot and its next start.
func (r *relays) beforeNext(s *slot, do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.between = do
}

// crashes returns how relays ended that nobody killed.
func (r *relays) crashes() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		all = append(all, s.other...)
	}
	return all
}

// stop ends every relay with SIGTERM, and with SIGKILL what does not end in 15 s.
func (r *relays) stop() error {
	r.mu.Lock()
	r.closed = true
	var running []*child.Process
	for _, s := range r.slots {
		if s.process != nil {
			running = append(running, s.process)
		}
	}
	r.mu.Unlock()
	var errs []error
	for _, p := range running {
		errs = append(errs, p.Signal(syscall.SIGCONT), p.Signal(syscall.SIGTERM))
	}
	late := time.After(15 * time.Second)
	for _, p := range running {
		select {
		case <-p.Done():
		case <-late:
			errs = append(errs, fmt.Errorf("relay %d did not stop within 15 s", p.PID()), p.Kill())
		}
	}
	r.keep.Wait()
	for _, s := range r.slots {
		if s.link != nil {
			errs = append(errs, s.link.Close())
		}
	}
	return errors.Join(errs...)
}

// Build compiles waybill with kill points and planted bugs into dir and returns its path.
func Build(dir string) (string, error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/waybillmq/waybill").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	binary := filepath.Join(dir, "waybill")
	cmd := exec.Command("go", "build", "-tags", "killpoints", "-o", binary, "./cmd/waybill")
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build waybill: %w: %s", err, out)
	}
	return binary, nil
}

// deaths returns how often the relay of a slot ended at its kill point.
func (r *relays) deaths(s *slot) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.byPoint
}
