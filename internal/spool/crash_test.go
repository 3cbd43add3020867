package spool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

var (
	crashImages = flag.Int("spool.images", 2_000, "crash images to recover")
	firstSeed   = flag.Uint64("spool.first", 1, "seed of the first run")
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x73706f6f6c)) }

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
