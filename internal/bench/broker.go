package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/waybillmq/waybill/internal/embedded"
)

const (
	brokerRows = 500_000
	brokerRun  = 3 * time.Second // of one side in one round
	brokerLog  = 1 << 30         // bytes of the log that a restart finds
)

// Broker measures the bundled broker, one node: alone beside its disk (B4, B6, B13, B17), and behind the whole relay (B20, L1).
func Broker(ctx context.Context, opt Options) (figures []Figure, err error) {
	b := newBench(opt, brokerRows)
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.makeFolder(); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		ids     []string
		measure func(context.Context) ([]Figure, error)
	}{{[]string{"B4", "B6", "B13"}, b.appends}, {[]string{"B17"}, b.restarts}} {
		if !b.wants(part.ids...) {
			continue
		}
		more, err := part.measure(ctx)
		if err != nil {
			return nil, err
		}
		figures = append(figures, more...)
	}
	if b.wants("B20", "L1") {
		more, err := b.behindRelay(ctx)
		if err != nil {
			return nil, err
		}
		figures = append(figures, more...)
	}
	return b.only(figures), nil
}

// behindRelay measures the whole relay with the broker in its process.
func (b *Bench) behindRelay(ctx context.Context) (figures []Figure, err error) {
	if err := b.startServer(ctx); err != nil {
		return nil, err
	}
	if b.wants("B20") {
		if figures, err = b.drains(ctx); err != nil {
			return nil, err
		}
	}
	if b.wants("L1") {
		latency, err := b.ackLatency(ctx)
		if err != nil {
			return nil, fmt.Errorf("latency: %w", err)
		}
		figures = append(figures, latency...)
	}
	return figures, nil
}

// drains measures B20: the backlog of S1 into the broker, beside S1.
func (b *Bench) drains(ctx context.Context) ([]Figure, error) {
	if err := b.fill(ctx, b.relay); err != nil {
		return nil, err
	}
	var stored, acked []sample
	err := b.rounds(ctx, []turn{
		{"drain into the broker", &stored, func(ctx context.Context) (sample, error) {
			return b.inFolder(func(dir string) (sample, error) {
				return b.relay(ctx, job{Dir: dir, Segment: b.segment(), Profile: b.opt.CPUProfile})
			})
		}},
		{"drain, acked at once", &acked, func(ctx context.Context) (sample, error) { return b.relay(ctx, job{}) }},
	})
	if err != nil {
		return nil, err
	}
	return []Figure{compare(Figure{ID: "B20", What: "drain into the bundled broker / into a publisher that acks at once (S1)", Unit: "rows/s", Floor: 0.7}, stored, acked,
		func(s sample) float64 { return s.rate(b.opt.Rows) })}, nil
}

// makeFolder makes a place on a disk for what the broker writes.
func (b *Bench) makeFolder() error {
	cache, err := embedded.CacheDir()
	if err != nil {
		return err
	}
	removeOld(cache)
	if inMemory(cache) && !b.opt.Unsafe {
		return errInMemory(cache)
	}
	b.folder = filepath.Join(cache, folderPrefix+randomHex())
	return os.Mkdir(b.folder, 0o700)
}

// scaled makes a size smaller when the messages of a run are fewer than they usually are.
func scaled[T time.Duration | int64](b *Bench, full T) T {
	return T(float64(full) * min(1, float64(b.opt.Rows)/brokerRows))
}

// segment is the default of the broker, 0, but for runs so short that filling files would be most of them.
func (b *Bench) segment() int64 {
	if b.opt.Rows < brokerRows/10 {
		return 8 << 20
	}
	return 0
}

// keep is how much a broker keeps whose rate is measured, and how much it gets before: it has reached its bound then and uses old segments again, as one does
// that runs for long.
func (b *Bench) keep() (keep, before int64) {
	segment := b.segment()
	if segment == 0 {
		segment = 128 << 20
	}
	return 3 * segment, 8 * segment
}

// appends measures the rate of appends beside what the disk can do.
func (b *Bench) appends(ctx context.Context) ([]Figure, error) {
	type pair struct {
		figure Figure
		load   load
		kind   string // of the other side
		other  string // its name
	}
	var pairs []*pair
	for _, l := range []load{loadLanes, loadSingle} {
		pairs = append(pairs, &pair{Figure{ID: "B4", What: "appends, one node / the disk, one sync for all that wait (D4)", Floor: 0.5, Aim: 0.8}, l, jobGroups, "one sync for all (D4)"})
	}
	pairs = append(pairs, &pair{Figure{ID: "B6", What: "appends / writes of 4 KiB, each synced", Floor: 0.6, Aim: 0.8}, loadAlone, jobFiles, "write and sync"})
	for _, l := range []load{loadSome, loadSingle} {
		pairs = append(pairs, &pair{Figure{ID: "B13", What: "appends, shared flush / a file for each partition, a flush for each request", Floor: 3, Aim: 5}, l, jobFiles, "a sync for each request"})
	}
	ours, theirs := map[load]*[]sample{}, map[*pair]*[]sample{}
	var turns []turn
	for _, p := range pairs {
		if !b.wants(p.figure.ID) {
			continue
		}
		if ours[p.load] == nil {
			ours[p.load] = new([]sample)
			turns = append(turns, b.produce("broker", jobAppend, p.load, ours[p.load]))
		}
		theirs[p] = new([]sample)
		turns = append(turns, b.produce(p.other, p.kind, p.load, theirs[p]))
	}
	if err := b.rounds(ctx, turns); err != nil {
		return nil, err
	}
	var figures []Figure
	for _, p := range pairs {
		if theirs[p] == nil {
			continue
		}
		p.figure.Unit, p.figure.Note = "msg/s", p.load.String()+", 1 KiB; "+costs(*ours[p.load])
		figures = append(figures, compare(p.figure, *ours[p.load], *theirs[p], func(s sample) float64 { return s.rate(0) }))
	}
	return figures, nil
}

// costs are what stands beside a rate: the latency of a request and the CPU time.
func costs(of []sample) string {
	var p50, p99, cpu []float64
	for _, s := range of {
		p50, p99, cpu = append(p50, s.p50), append(p99, s.p99), append(cpu, s.cpu*1e6/s.messages(0))
	}
	return fmt.Sprintf("p50 %s ms, p99 %s ms, %s CPU-s per million", number(median(p50)), number(median(p99)), number(median(cpu)))
}

// produce is a turn in which producers put a load into something new.
func (b *Bench) produce(name, kind string, l load, into *[]sample) turn {
	return turn{fmt.Sprintf("%s, %d x %d", name, l.Lanes*l.Depth, l.Batch), into, func(ctx context.Context) (sample, error) {
		return b.inFolder(func(dir string) (sample, error) {
			j := &job{Kind: kind, Dir: dir, Load: l, For: scaled(b, brokerRun), Segment: b.segment()}
			if kind == jobAppend && l != loadAlone {
				j.Keep, j.Bytes = b.keep()
			}
			if kind == jobAppend {
				if j.Profile = b.opt.CPUProfile; j.Profile != "" && l != loadLanes {
					j.Profile += fmt.Sprintf(".%dx%d", l.Lanes*l.Depth, l.Batch)
				}
			}
			return b.work(ctx, j)
		})
	}}
}

// inFolder gives a run a folder of its own, whose removal is over when it returns.
func (b *Bench) inFolder(run func(dir string) (sample, error)) (s sample, err error) {
	dir := filepath.Join(b.folder, randomHex())
	s, err = run(dir)
	err = errors.Join(err, os.RemoveAll(dir))
	quietDisk()
	return s, err
}
