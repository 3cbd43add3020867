package spool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

var (
	crashImages = flag.Int("spool.images", 2_000, "crash images to recover")
	firstSeed   = flag.Uint64("spool.first", 1, "seed of the first run")
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x73706f6f6c)) }

// state is what a test knows of an id.
type state struct {
	lane              relay.CacheLane
	put, acked        bool // the call has returned
	trying, tryingAck bool // it was called
	gone              bool // forgotten, which a crash may take back
}

// model is what a cache must hold. Its lock also keeps the file system of a test still while a crash image is taken.
type model struct {
	mu     sync.Mutex
	ids    map[relay.ID]*state
	next   relay.ID
	lanes  []relay.CacheLane
	claims relay.ID // the highest that was remembered
}

func newModel() *model {
	return &model{ids: map[relay.ID]*state{}, next: 1, lanes: []relay.CacheLane{kafkaLane, noTopic, {Destination: "rabbit", Lane: relay.Lane{Topic: "x"}}}}
}

func (m *model) set(ids []relay.ID, change func(*state)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		change(m.ids[id])
	}
}

func sizeOf(id relay.ID) int { return int(id*2654435761%4096) / (1 + int(id%3)*7) }

// step does something to a cache, and says what went wrong.
func (m *model) step(s *Spool, rng *rand.Rand) error {
	lane := m.lanes[rng.IntN(len(m.lanes))]
	var here, acked []relay.ID
	for id, st := range m.ids {
		if st.lane == lane && st.put && !st.gone {
			if st.acked {
				acked = append(acked, id)
			} else {
				here = append(here, id)
			}
		}
	}
	slices.Sort(here)
	slices.Sort(acked)
	switch n := rng.IntN(12); {
	case n < 6:
		return m.stepPut(s, lane, 1+rng.IntN(4))
	case n < 8 && len(here) > 0:
		ids := here[:1+rng.IntN(len(here))]
		m.set(ids, func(st *state) { st.tryingAck = true })
		acks := make([]relay.CachedAck, len(ids))
		for i, id := range ids {
			acks[i] = relay.CachedAck{ID: id, At: relay.Position{Offset: int64(id), HasOffset: true}}
		}
		err := s.Acked(lease, lane, acks)
		if err == nil {
			m.set(ids, func(st *state) { st.acked = true })
		}
		return err
	case n < 10:
		ids := append(here, acked...)
		ids = ids[:rng.IntN(len(ids)+1)]
		m.set(ids, func(st *state) { st.gone = true })
		s.Forget(lane, ids)
	case n < 11:
		got, err := s.Next(lane, 1+rng.IntN(5), 4000)
		if err == nil {
			err = m.right(lane, got)
		}
		return err
	default:
		err := s.Remember(7, 1000+m.next)
		if err == nil {
			m.mu.Lock()
			m.claims = 1000 + m.next
			m.mu.Unlock()
		}
		return err
	}
	return nil
}

func (m *model) stepPut(s *Spool, lane relay.CacheLane, n int) error {
	var ids []relay.ID
	var list []*relay.Message
	m.mu.Lock()
	for range n {
		ids, list = append(ids, m.next), append(list, newMessage(m.next, sizeOf(m.next)))
		m.ids[m.next] = &state{lane: lane, trying: true}
		m.next++
	}
	m.mu.Unlock()
	stored, err := s.Put(lease, lane, list)
	m.set(ids[:stored], func(st *state) { st.put = true })
	return err
}

// errWrong is an error of the cache and not of the disk.
var errWrong = errors.New("wrong")

// right says whether messages are as they were put, in order.
func (m *model) right(lane relay.CacheLane, got []*relay.Message) error {
	last := relay.ID(0)
	for _, g := range got {
		st := m.ids[g.ID]
		if st == nil || st.lane != lane || g.ID <= last {
			return fmt.Errorf("message %d of lane %v behind %d: %w", g.ID, lane, last, errWrong)
		}
		if !reflect.DeepEqual(g, newMessage(g.ID, sizeOf(g.ID))) {
			return fmt.Errorf("message %d has changed: %w", g.ID, errWrong)
		}
		last = g.ID
	}
	return nil
}

// compare holds an opened cache against what must be in it. With losses, some may be missing.
func (m *model) compare(s *Spool, losses bool) error {
	sent, acks := map[relay.ID]bool{}, map[relay.ID]bool{}
	for _, lane := range s.Lanes() {
		var list []*relay.Message
		for {
			part, err := s.Next(lane, 7, 8000)
			if err != nil {
				return err
			}
			if len(part) == 0 {
				break
			}
			list = append(list, part...)
		}
		if err := m.right(lane, list); err != nil {
			return err
		}
		for _, id := range idsOf(list) {
			sent[id] = true
		}
		waiting, err := s.Unsettled(lane, 0, 1<<20)
		if err != nil {
			return err
		}
		for _, a := range waiting {
			if st := m.ids[a.ID]; st == nil || !st.tryingAck || st.lane != lane || a.At.Offset != int64(a.ID) || sent[a.ID] {
				return fmt.Errorf("ack %+v of lane %v was never given: %w", a, lane, errWrong)
			}
			acks[a.ID] = true
		}
	}
	for id, st := range m.ids {
		switch {
		case losses || st.gone || !st.put:
		case st.acked && !acks[id]:
			return fmt.Errorf("the ack of %d is lost: %w", id, errWrong)
		case !sent[id] && !acks[id]:
			return fmt.Errorf("message %d is lost: %w", id, errWrong)
		case acks[id] && !st.tryingAck:
			return fmt.Errorf("message %d was never acked: %w", id, errWrong)
		}
	}
	return nil
}

// crashes puts a crash at every operation of a cache on a memory file system.
type crashes struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand // of the images; guarded by the model's lock
	fs     *vfs.Memory
	model  *model
	images int
	flips  bool
}

func (c *crashes) fail(format string, args ...any) {
	c.t.Errorf("-spool.first %d: %s", c.seed, fmt.Sprintf(format, args...))
}

// check recovers what a crash at this moment leaves.
func (c *crashes) check() {
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	if c.t.Failed() {
		return
	}
	shares := [...]float64{0, 0.2, 0.5, 0.8, 1}
	d := vfs.Damage{Writes: shares[c.rng.IntN(5)], Names: shares[c.rng.IntN(5)], Grows: shares[c.rng.IntN(5)]}
	if c.flips {
		d.Flips = 1 + c.rng.IntN(2)
	}
	c.recover(c.fs.Crash(d, c.rng), 0)
}

// recover opens a crash image, which may crash again meanwhile, and compares what it holds.
func (c *crashes) recover(image *vfs.Memory, depth int) {
	c.images++
	fsys := vfs.FS(image)
	if depth < 2 && c.rng.IntN(10) == 0 {
		at := c.rng.IntN(60)
		var one sync.Mutex
		fsys = vfs.Inject(image, func(vfs.Op) (int, error) {
			one.Lock()
			defer one.Unlock()
			if at--; at == 0 {
				c.recover(image.Crash(vfs.Damage{Writes: 0.5, Names: 0.5, Grows: 0.5}, c.rng), depth+1)
			}
			return 0, nil
		})
	}
	s, found, err := Open(testConfig(fsys), owner)
	if err != nil {
		if !c.flips || !errors.Is(err, commitlog.ErrVersion) {
			c.fail("open: %v", err)
		}
		return
	}
	if !c.flips && (found.Aside != "" || found.Damage != nil || found.Unread+found.Dropped > 0) {
		c.fail("found after a crash: %+v", found)
	}
	if found.Claimed < c.model.claims && !c.flips {
		c.fail("%d was claimed, %d is remembered", c.model.claims, found.Claimed)
	}
	if found.Damage != nil && found.Messages > 0 {
		c.fail("messages are left after damage: %+v", found)
	}
	losses := c.flips && (depth > 0 || found.Damage != nil || found.Aside != "" || found.Torn > 0) // a flip in the last frame looks like a torn one
	if err := c.model.compare(s, losses); err != nil {
		c.fail("%v; found %+v", err, found)
	}
	if err := s.Close(); err != nil {
		c.fail("close: %v", err)
	}
}

// run is one cache in its lives; it returns how many images were recovered.
func crashRun(t *testing.T, seed uint64, flips bool) int {
	c := &crashes{t: t, seed: seed, rng: newRand(seed), fs: vfs.NewMemory(), model: newModel(), flips: flips}
	stopping := vfs.Inject(c.fs, func(op vfs.Op) (int, error) {
		if op.Kind != vfs.Read && op.Kind != vfs.List && op.Kind != vfs.Open && op.Kind != vfs.Free {
			c.check()
		}
		return 0, nil
	})
	steps := newRand(seed + 1<<32)
	for range 3 {
		s, _, err := Open(testConfig(stopping), owner)
		if err != nil {
			c.fail("open: %v", err)
			return c.images
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		for range 10 + steps.IntN(20) {
			if err := c.model.step(s, steps); err != nil {
				c.fail("step: %v", err)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			c.fail("run: %v", err)
		}
		c.check()
	}
	return c.images
}

// Everything whose Put or Acked has returned is there after a power cut at any operation, nothing else, in order; rotten bits cost the cache messages and never
// change one. Each promise of the folder is in it: DC2, DC11, DC12.
func TestCrashImagesH4H6H7H14(t *testing.T) {
	for _, flips := range []bool{false, true} {
		t.Run(fmt.Sprintf("flips=%v", flips), func(t *testing.T) {
			var seed atomic.Uint64
			var images atomic.Int64
			seed.Store(*firstSeed - 1)
			var wg sync.WaitGroup
			for range runtime.GOMAXPROCS(0) {
				wg.Go(func() {
					for images.Load() < int64(*crashImages/2) && !t.Failed() {
						images.Add(int64(crashRun(t, seed.Add(1), flips)))
					}
				})
			}
			wg.Wait()
			t.Logf("%d images of the runs with seeds %d to %d", images.Load(), *firstSeed, seed.Load())
		})
	}
}

// An error at any single operation, or from there on, ends in an error that the port knows; what was stored before is there afterwards. H1 H2 H3
func TestErrorAtEveryOperationH1H2H3(t *testing.T) {
	for _, c := range []struct {
		name    string
		err     error
		forever bool
		of      int
	}{{"EIO once", syscall.EIO, false, 0}, {"EIO for ever", syscall.EIO, true, 0}, {"ENOSPC once", syscall.ENOSPC, false, 0}, {"ENOSPC for ever", syscall.ENOSPC, true, 0},
		{"short write", syscall.ENOSPC, false, 700}} {
		t.Run(c.name, func(t *testing.T) {
			hit := 0
			for n := int64(1); ; n++ {
				failed, err := errorRun(t, c.err, n, c.forever, c.of)
				if err != nil {
					t.Fatalf("operation %d: %v", n, err)
				}
				if !failed {
					break
				}
				hit++
			}
			t.Logf("%d operations failed, each in a run of its own", hit)
			if hit < 50 {
				t.Errorf("only %d", hit)
			}
		})
	}
}

// errorRun fails operation n of a cache's life, and says whether it came to that.
func errorRun(t *testing.T, failure error, n int64, forever bool, of int) (failed bool, wrong error) {
	var ops atomic.Int64
	m := vfs.NewMemory()
	fsys := vfs.Inject(m, func(op vfs.Op) (int, error) {
		now := ops.Add(1)
		if now == n || forever && now > n {
			if op.Kind == vfs.Write {
				return of, failure
			}
			return 0, failure
		}
		return 0, nil
	})
	model := newModel()
	rng := newRand(uint64(n))
	for range 2 {
		s, _, err := Open(testConfig(fsys), owner)
		if err != nil {
			if !errors.Is(err, failure) {
				return true, fmt.Errorf("open: %w", err)
			}
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		for range 12 {
			err := model.step(s, rng)
			var left *relay.CacheDamageError
			if errors.As(err, &left) { // read from the table again
				for id, st := range model.ids {
					st.gone = st.gone || st.lane == left.Lane && id >= left.From && !st.acked
				}
			}
			if errors.Is(err, errWrong) || err != nil && !errors.Is(err, relay.ErrCacheFull) && !errors.Is(err, relay.ErrCacheClosed) && !errors.Is(err, failure) {
				wrong = errors.Join(wrong, fmt.Errorf("step: %w", err))
			}
		}
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, failure) || wrong != nil {
			return true, errors.Join(wrong, err)
		}
	}
	failed = ops.Load() >= n
	for _, image := range []*vfs.Memory{m, m.Crash(vfs.Damage{Writes: 0.5, Names: 0.5, Grows: 0.5}, rng)} {
		s, found, err := Open(testConfig(image), owner)
		if err != nil {
			return failed, fmt.Errorf("open afterwards: %w", err)
		}
		err = model.compare(s, found.Damage != nil || found.Aside != "")
		if err := errors.Join(err, s.Close()); err != nil {
			return failed, fmt.Errorf("%w; found %+v", err, found)
		}
		if found.Aside != "" {
			return failed, fmt.Errorf("set aside: %w", found.Why)
		}
	}
	return failed, nil
}
