package commitlog

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

var (
	crashImages = flag.Int("log.images", 20_000, "crash images to recover")
	firstSeed   = flag.Uint64("log.first", 1, "seed of the first run; with -log.images 2 the only one")
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x77617962696c6c)) }

// crashes appends to a log on a memory file system and stops the machine before every single operation of it.
type crashes struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	fs     *vfs.Memory
	acked  []string // what Append returned for
	places []uint64 // the segment of each
	gone   int      // so many of the first may have been released
	trying []string // what the frame in flight holds
	images int
	flips  bool
	turned int // bits that are turned in the image
}

var testConfig = Config{Dir: ".", SegmentBytes: 6 * align, Spares: 1, Node: UUID{1}, Cluster: UUID{2}}

func (c *crashes) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("-log.first %d: %s", c.seed, fmt.Sprintf(format, args...))
	runtime.Goexit() // of this worker; the others see the failure
}

// record is the n-th of a run: its body says which, and fills some pages at times.
func (c *crashes) record(n int) Record {
	body := make([]byte, 8+c.rng.IntN(100))
	if c.rng.IntN(4) == 0 {
		body = make([]byte, 8+c.rng.IntN(2*align))
	}
	for i := range body {
		body[i] = byte(n)
	}
	le.PutUint64(body, uint64(n))
	return Record{Kind: KindEntry, Stream: uint16(n % 3), Index: uint64(n), Term: 1, Body: body}
}

func describe(r Record) string {
	sum := 0
	for _, b := range r.Body {
		sum += int(b)
	}
	return fmt.Sprintf("%d/%d/%d/%d/%d", r.Index, r.Stream, r.Term, len(r.Body), sum)
}

// run opens the log and appends frames of some records each.
func (c *crashes) run(fsys vfs.FS, frames int) {
	cfg := testConfig
	cfg.FS = fsys
	l, _, err := Open(cfg, nil)
	if err != nil {
		c.fail("open: %v", err)
	}
	for range frames {
		b := newBatch(nil)
		for range 1 + c.rng.IntN(3) {
			r := c.record(len(c.acked) + len(c.trying))
			b.buf = appendRecord(b.buf, r)
			b.count++
			c.trying = append(c.trying, describe(r))
		}
		if _, err := l.w.write(b.buf, b.count, 0); err != nil {
			c.fail("write: %v", err)
		}
		for range c.trying {
			c.places = append(c.places, l.w.h.Number)
		}
		c.acked, c.trying = append(c.acked, c.trying...), nil
		if c.rng.IntN(5) == 0 {
			c.release(l)
		}
		if c.rng.IntN(4) == 0 {
			if err := l.w.marker(); err != nil {
				c.fail("marker: %v", err)
			}
		}
	}
	if err := errors.Join(l.w.file.Close(), l.lock.Close()); err != nil {
		c.fail("close: %v", err)
	}
}

// release gives up some of the oldest segments.
func (c *crashes) release(l *Log) {
	below := l.w.h.Number - uint64(c.rng.IntN(3))
	for c.gone < len(c.places) && c.places[c.gone] < below {
		c.gone++
	}
	if err := l.Release(below); err != nil {
		c.fail("release: %v", err)
	}
}

// check recovers what a crash at this moment leaves.
func (c *crashes) check() {
	shares := [...]float64{0, 0.2, 0.5, 0.8, 1}
	d := vfs.Damage{Writes: shares[c.rng.IntN(5)], Names: shares[c.rng.IntN(5)], Grows: shares[c.rng.IntN(5)]}
	if c.flips {
		d.Flips = 1 + c.rng.IntN(2)
	}
	c.turned = d.Flips
	c.images++
	c.recover(c.fs.Crash(d, c.rng), 0)
}

// recover opens a crash image, which may crash again meanwhile, and compares what it holds.
func (c *crashes) recover(image *vfs.Memory, depth int) {
	cfg := testConfig
	cfg.FS = image
	if depth < 2 && c.rng.IntN(10) == 0 {
		at := c.rng.IntN(40)
		cfg.FS = vfs.Inject(image, func(vfs.Op) (int, error) {
			if at--; at == 0 {
				c.images++
				c.recover(image.Crash(vfs.Damage{Writes: 0.5, Names: 0.5, Grows: 0.5}, c.rng), depth+1)
			}
			return 0, nil
		})
	}
	var got []string
	l, found, err := Open(cfg, func(_ Position, r Record) error {
		got = append(got, describe(r))
		return nil
	})
	if err != nil {
		if damage := (*DamageError)(nil); c.flips && (errors.As(err, &damage) || errors.Is(err, ErrForeign) || errors.Is(err, ErrVersion)) {
			return
		}
		c.fail("after a crash with %d records acknowledged: %v", len(c.acked), err)
	}
	c.compare(got)
	if found.Records != len(got) {
		c.fail("%d records found, %d given", found.Records, len(got))
	}
	if err := errors.Join(l.w.file.Close(), l.lock.Close()); err != nil {
		c.fail("close: %v", err)
	}
}

// compare checks that what was recovered is what was acknowledged, and behind it at most the whole frame in flight. A flipped bit in the very last synced frame
// looks like a torn write, so there that frame may be missing; with two bits one of which hides the last frame, the one before it too.
func (c *crashes) compare(got []string) {
	all := append(append([]string(nil), c.acked...), c.trying...)
	from := 0 // some of the oldest may be released
	for len(got) > 0 && from < c.gone && all[from] != got[0] {
		from++
	}
	if len(got) == 0 {
		from = c.gone
	}
	if from > 0 && from < len(c.places) && c.places[from] == c.places[from-1] {
		c.fail("the first record is %d, in the middle of segment %d", from, c.places[from])
	}
	all = all[from:]
	acked := len(c.acked) - from
	if len(got) > len(all) {
		c.fail("%d records recovered, %d were ever written", len(got), len(all))
	}
	for i := range got {
		if got[i] != all[i] {
			c.fail("record %d is %s, was %s", i, got[i], all[i])
		}
	}
	if len(got) < acked-3*c.turned { // a frame has at most 3
		c.fail("%d of %d acknowledged records recovered", len(got), acked)
	}
	if n := len(got) - acked; n > 0 && n != len(c.trying) {
		c.fail("%d of the %d records of a frame recovered", n, len(c.trying))
	}
}

func TestCrashImages(t *testing.T) {
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

// crashRun is one log in its two lives; it returns how many images it recovered.
func crashRun(t *testing.T, seed uint64, flips bool) int {
	c := &crashes{t: t, seed: seed, rng: newRand(seed), fs: vfs.NewMemory(), flips: flips}
	stopping := vfs.Inject(c.fs, func(op vfs.Op) (int, error) {
		if op.Kind != vfs.Read && op.Kind != vfs.List {
			c.check()
		}
		return 0, nil
	})
	c.run(stopping, 3+c.rng.IntN(6))
	c.check()
	c.run(stopping, 3)
	c.check()
	return c.images
}
