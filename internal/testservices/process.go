package testservices

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// startTimeout bounds the start of one server, with its first installation on the machine.
const startTimeout = 5 * time.Minute

// server is what this process started and must stop.
type server interface {
	fmt.Stringer
	Close() error
}

// process holds what the servers of this test process share.
var process struct {
	mu    sync.Mutex
	space *space
	open  []server // own and shared servers, in order of start

	postgres map[int]*shared[*PGServer]
	kafka    *shared[*Cluster]
	rocket   *shared[*Rocket]
	rabbit   *shared[*Rabbit]
}

// shared is a server that starts with the first who asks. A start that failed stays failed: the next test need not wait for it again.
type shared[S any] struct {
	once   sync.Once
	server S
	err    error
}

func (s *shared[S]) get(start func(context.Context) (S, error)) (S, error) {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		s.server, s.err = start(ctx)
	})
	return s.server, s.err
}

func processSpace() (*space, error) {
	process.mu.Lock()
	defer process.mu.Unlock()
	if process.space == nil {
		s, err := newSpace()
		if err != nil {
			return nil, err
		}
		process.space = s
	}
	return process.space, nil
}

func opened(s server) {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.open = append(process.open, s)
}

func closed(s server) {
	process.mu.Lock()
	defer process.mu.Unlock()
	process.open = slices.DeleteFunc(process.open, func(o server) bool { return o == s })
}

// Main runs the tests of a package, stops the servers that they shared, and fails the package on leftovers: a server of its own that a test did not stop,
// a connection that a test did not close, a goroutine that still runs.
//
//	func TestMain(m *testing.M) { testservices.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	if err := errors.Join(leftovers(), CloseAll(), Goroutines()); err != nil {
		fmt.Fprintln(os.Stderr, "leftovers of the tests:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// clientRemnants is how long the Go client of RocketMQ keeps goroutines after it was shut down: two sleep for 10 s, whatever happens.
const clientRemnants = 12 * time.Second

// Goroutines names those that still run, for a TestMain that cannot be Main. Where RocketMQ was used they are waited for.
func Goroutines() error {
	janitor := goleak.IgnoreAnyFunction("github.com/patrickmn/go-cache.(*janitor).Run") // that client starts it with the program
	err := goleak.Find(janitor)
	if err == nil || !rocketUsed.Load() {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), clientRemnants)
	defer cancel()
	_ = until(ctx, func() (bool, error) {
		err = goleak.Find(janitor)
		return err == nil, nil
	})
	return err
}

// leftovers names what the tests left behind: own servers, and connections to a shared one.
func leftovers() error {
	process.mu.Lock()
	servers := slices.Clone(process.open)
	var common []server
	for _, s := range process.postgres {
		common = append(common, s.server)
	}
	if process.kafka != nil {
		common = append(common, process.kafka.server)
	}
	if process.rocket != nil {
		common = append(common, process.rocket.server)
	}
	if process.rabbit != nil {
		common = append(common, process.rabbit.server)
	}
	process.mu.Unlock()
	var errs []error
	for _, s := range servers {
		if !slices.Contains(common, s) {
			errs = append(errs, fmt.Errorf("%s was not stopped by its test", s))
		} else if pg, ok := s.(*PGServer); ok {
			errs = append(errs, pg.leftConnections())
		}
	}
	return errors.Join(errs...)
}

// CloseAll stops every server of this process, the last one started first, and removes their data.
func CloseAll() error {
	process.mu.Lock()
	servers := slices.Clone(process.open)
	process.mu.Unlock()
	var errs []error
	for _, s := range slices.Backward(servers) {
		errs = append(errs, s.Close())
	}
	process.mu.Lock()
	defer process.mu.Unlock()
	if process.space != nil {
		errs = append(errs, process.space.close())
		process.space = nil
	}
	return errors.Join(errs...)
}

// IgnoreServers keeps goleak, called at the end of a single test, from reporting the goroutines that wait for the shared servers.
func IgnoreServers() goleak.Option {
	return goleak.IgnoreAnyFunction("github.com/waybillmq/waybill/internal/child.(*Process).supervise")
}

// leftConnections names the clients that are still connected. A connection that is being closed counts only when it is still there after two seconds.
func (s *PGServer) leftConnections() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return nil // the tests ended this server; there is nobody to ask
	}
	defer conn.Close(context.Background())
	var left string
	err = until(ctx, func() (bool, error) {
		err := conn.QueryRow(ctx, `SELECT coalesce(string_agg(format('%s of %s (%s)', pid, datname, application_name), ', '), '')
			FROM pg_stat_activity WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()`).Scan(&left)
		return left == "", err
	})
	if err != nil {
		return fmt.Errorf("%s: connections that no test closed: %s", s, left)
	}
	return nil
}

// until asks every 20 ms until done, an error, or the end of ctx.
func until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
