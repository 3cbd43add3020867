package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// list is a machine that remembers every command, and answers with its place.
type list struct {
	mu    sync.Mutex
	items []string
}

func (l *list) Apply(_ commitlog.Position, _ uint64, e fsm.Entry) []fsm.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	var results []fsm.Result
	for _, c := range e.Commands {
		results = append(results, fsm.Result{Base: int64(len(l.items))})
		l.items = append(l.items, string(c.Body))
	}
	return results
}

func (l *list) Snapshot(dst []byte) []byte { return append(dst, strings.Join(l.items, "\n")...) }

func (l *list) Restore(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = nil
	if len(b) > 0 {
		l.items = strings.Split(string(b), "\n")
	}
	return nil
}

func (l *list) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.items)
}

const testGroups = 3

// node is a host that runs.
type node struct {
	*Host
	lists []*list
	found commitlog.Found
	stop  func() error
}

func start(t testing.TB, fs vfs.FS) *node {
	t.Helper()
	n, err := open(fs)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = n.stop() })
	led, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	must(t, n.Led(led))
	return n
}

func open(fs vfs.FS) (*node, error) {
	n := &node{}
	r := NewRecovery()
	log, found, err := commitlog.Open(commitlog.Config{FS: fs, Dir: ".", SegmentBytes: 64 << 10}, r.Record)
	if err != nil {
		return nil, err
	}
	n.found = found
	cfg := Config{ID: 7, Voters: []uint64{7}, Opens: found.Opens}
	for range testGroups {
		n.lists = append(n.lists, &list{})
		cfg.Machines = append(cfg.Machines, n.lists[len(n.lists)-1])
	}
	n.Host, err = New(cfg, log, r)
	return n, err
}

func (n *node) propose(group uint16, body string) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := n.Propose(ctx, group, fsm.Command{Type: 9, Body: []byte(body)}, 0)
	return r.Base, err
}

// What was answered is there after a restart, in the same place, with checkpoints and without; what is proposed at once shares entries.
func TestRestart(t *testing.T) {
	fs := vfs.NewMemory()
	want := make([]map[int64]string, testGroups)
	for i := range want {
		want[i] = map[int64]string{}
	}
	for life := range 4 {
		n := start(t, fs)
		for g, l := range n.lists {
			items := l.all()
			for at, body := range want[g] {
				if at >= int64(len(items)) || items[at] != body {
					t.Fatalf("life %d, group %d: place %d does not hold %q", life, g, at, body)
				}
			}
			if len(items) != len(want[g]) {
				t.Fatalf("life %d, group %d: %d commands, want %d", life, g, len(items), len(want[g]))
			}
		}
		var mu sync.Mutex
		var clients sync.WaitGroup
		for c := range 8 {
			clients.Go(func() {
				for i := range 40 {
					group := uint16((c + i) % testGroups)
					body := fmt.Sprintf("%d/%d/%d %s", life, c, i, strings.Repeat("x", i*20))
					at, err := n.propose(group, body)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if was, taken := want[group][at]; taken {
						t.Errorf("group %d: place %d was given to %q and %q", group, at, was, body)
					}
					want[group][at] = body
					mu.Unlock()
				}
			})
		}
		clients.Wait()
		if life == 2 {
			must(t, n.Checkpoint(t.Context()))
		}
		must(t, n.stop())
		if _, err := n.propose(0, "late"); !errors.Is(err, ErrStopped) {
			t.Errorf("after the end: %v", err)
		}
		if life == 3 && n.found.Records > 200 {
			t.Errorf("%d records were read behind a checkpoint", n.found.Records)
		}
	}
}

// A power cut at any moment takes back nothing that was answered, and no place is given twice.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(8) {
		fs := vfs.NewMemory()
		n := start(t, fs)
		rnd := rand.New(rand.NewPCG(seed, 1))
		var mu sync.Mutex
		answered := map[string]int64{}
		var clients sync.WaitGroup
		cut := make(chan struct{})
		for c := range 4 {
			clients.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-cut:
						return
					default:
					}
					body := fmt.Sprintf("%d/%d", c, i)
					at, err := n.propose(uint16(c%testGroups), body)
					if err != nil {
						return
					}
					mu.Lock()
					answered[body] = at
					mu.Unlock()
				}
			})
		}
		for range rnd.IntN(300) {
			if _, err := n.propose(2, "tick"); err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		before := make(map[string]int64, len(answered))
		for body, at := range answered {
			before[body] = at
		}
		image := fs.Crash(vfs.Damage{Writes: rnd.Float64(), Names: rnd.Float64(), Grows: rnd.Float64()}, rnd)
		mu.Unlock()
		close(cut)
		clients.Wait()
		must(t, n.stop())
		after := start(t, image)
		for body, at := range before {
			var c, i int
			_, _ = fmt.Sscanf(body, "%d/%d", &c, &i)
			if items := after.lists[c%testGroups].all(); at >= int64(len(items)) || items[at] != body {
				t.Fatalf("seed %d: %q was answered with place %d, which is lost", seed, body, at)
			}
		}
		must(t, after.stop())
	}
}

// An error of the disk ends the host at once: nothing is answered after it.
func TestDiskErrorStops(t *testing.T) {
	broken := errors.New("no more disk")
	var failing sync.Mutex
	fail := false
	fs := vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
		failing.Lock()
		defer failing.Unlock()
		if fail && op.Kind == vfs.Datasync {
			return 0, broken
		}
		return 0, nil
	})
	n := start(t, fs)
	_, err := n.propose(0, "a")
	must(t, err)
	failing.Lock()
	fail = true
	failing.Unlock()
	if _, err := n.propose(0, "b"); !errors.Is(err, ErrStopped) {
		t.Errorf("after a sync that failed: %v", err)
	}
	if err := n.stop(); !errors.Is(err, broken) {
		t.Errorf("Run: %v", err)
	}
}

// A command that is given up while it waits is not proposed, and the caller may use its bytes again; one that is on its way may be stored.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gate atomic.Pointer[chan struct{}]
		n := start(t, vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
			if wait := gate.Load(); wait != nil && op.Kind == vfs.Datasync {
				<-*wait
			}
			return 0, nil
		}))
		open := make(chan struct{})
		gate.Store(&open)
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		errs := make([]error, mergeFrom+2)
		for i := range errs {
			callers.Go(func() {
				body := fmt.Appendf(nil, "command %d", i)
				_, errs[i] = n.Propose(ctx, 1, fsm.Command{Type: 9, Body: body}, 0)
				copy(body, "garbage")
			})
			synctest.Wait()
		}
		cancel()
		callers.Wait()
		for i, err := range errs {
			if onItsWay := i < mergeFrom; !errors.Is(err, context.Canceled) || errors.Is(err, ErrNotLeader) == onItsWay {
				t.Errorf("command %d: %v", i, err)
			}
		}
		close(open)
		_, err := n.propose(1, "last")
		must(t, err)
		if got, want := fmt.Sprint(n.lists[1].all()), "[command 0 command 1 last]"; got != want {
			t.Errorf("stored %s, want %s", got, want)
		}
		must(t, n.stop())
	})
}

// A full disk refuses proposals and loses none: what was on its way is written when there is room.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		fs := vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
			if full.Load() && op.Kind == vfs.Create {
				return 0, syscall.ENOSPC
			}
			return 0, nil
		})
		n := start(t, fs)
		full.Store(true)
		body := strings.Repeat("x", 8<<10)
		placed := int64(0)
		var waiting sync.WaitGroup
		for refused := false; !refused; {
			if placed == 100 {
				t.Fatal("the disk is full and nothing is refused")
			}
			answered := make(chan error, 1)
			waiting.Go(func() { _, err := n.propose(0, body); answered <- err })
			synctest.Wait()
			select {
			case err := <-answered:
				if refused = errors.Is(err, ErrNotLeader) && errors.Is(err, commitlog.ErrFull); !refused {
					must(t, err)
					placed++
				}
			default: // on its way when the disk was full: the next one is refused
				placed++
			}
		}
		full.Store(false)
		waiting.Wait()
		time.Sleep(time.Minute) // longer than a full disk is left alone
		_, err := n.propose(0, "last")
		must(t, err)
		for g := range n.lists { // what wrote nothing meanwhile has nothing to wait for
			began := time.Now()
			_, err := n.propose(uint16(g), "last")
			must(t, err)
			if took := time.Since(began); took > 0 {
				t.Errorf("group %d: a command took %v when there was room again", g, took)
			}
		}
		if items := n.lists[0].all(); int64(len(items)) != placed+2 {
			t.Errorf("%d commands, want %d", len(items), placed+2)
		}
		must(t, n.stop())
	})
}
