package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// probeNumber is that of the message with which a restart ends.
const probeNumber = math.MaxInt64

// restarts measures B17: a broker is killed with kill -9 in the middle of its work, its files are dropped from the page cache, and it comes up again. Each round
// kills it at another place of the segment in use: how much has to be read depends on it.
func (b *Bench) restarts(ctx context.Context) ([]Figure, error) {
	f := Figure{ID: "B17", What: "kill -9 with a log of 1 GiB, restart to the first ack", Unit: "s", Floor: 2, Aim: 0.7, Less: true}
	size := scaled(b, int64(brokerLog))
	if size < brokerLog {
		f.What = fmt.Sprintf("kill -9 with a log of %d MiB, restart to the first ack", size>>20)
	}
	segment := max(b.segment(), scaled(b, int64(128<<20)))
	for n := range b.opt.Rounds {
		more := segment * int64(2*n+1) / int64(2*b.opt.Rounds)
		s, err := b.inFolder(func(dir string) (sample, error) { return b.restart(ctx, dir, size+more) })
		if err != nil {
			return nil, fmt.Errorf("round %d, restart: %w", n+1, err)
		}
		b.say("  round %d  restart with a log of %d MiB  %5.2f s   foreign CPU %2.0f %%", n+1, (size+more)>>20, s.seconds, 100*s.foreign)
		f.add1(s.seconds, s.foreign)
	}
	return []Figure{f}, nil
}

func (b *Bench) restart(ctx context.Context, dir string, size int64) (s sample, err error) {
	w, err := startWorker(b.opt.Worker, &job{Kind: jobFill, Dir: dir, Load: loadLanes, Bytes: size, Segment: b.segment()})
	if err != nil {
		return s, err
	}
	var filled report
	if err = w.begin(); err == nil {
		filled, err = w.result()
	}
	killed := w.kill()
	if err = errors.Join(err, killed); err != nil {
		return s, fmt.Errorf("fill the log: %w", err)
	}
	quietDisk()
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*")) // the pattern is well formed
	for _, name := range files {
		if err := dropCache(name); err != nil {
			return s, err
		}
	}
	return b.work(ctx, &job{Kind: jobRestart, Dir: dir, Load: loadLanes, Acked: filled.Acked, Segment: b.segment(), Profile: b.opt.CPUProfile})
}

// prepareFill makes a broker ready that producers fill.
func prepareFill(ctx context.Context, j *job) (*task, error) {
	if err := os.MkdirAll(j.Dir, 0o700); err != nil {
		return nil, err
	}
	n, err := startNode(ctx, j.Dir, j.Segment, 0)
	if err != nil {
		return nil, err
	}
	if err := n.makeTopic(ctx, j.Load.Lanes); err != nil {
		return nil, errors.Join(err, n.stop())
	}
	p := newProducers(j.Load, n.sink(j.Load))
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	t := &task{check: func() error { return nil }}
	t.run = func(ctx context.Context) (time.Duration, error) {
		began := time.Now()
		go func() {
			_, err := p.run(work, func() bool { return work.Err() != nil })
			ended <- err
		}()
		for p.bytes.Load() < j.Bytes {
			select {
			case err := <-ended:
				ended <- nil // for close
				return 0, errors.Join(errors.New("the producers ended"), err)
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		t.Acked = p.ackedByLane()
		return time.Since(began), nil
	}
	t.close = func() error { // reached only when nobody kills it
		stop()
		err := n.stop()
		<-ended
		return err
	}
	return t, nil
}

// prepareRestart makes nothing ready: all that a restart does is timed.
func prepareRestart(_ context.Context, j *job) (*task, error) {
	var n *node
	t := &task{}
	t.run = func(ctx context.Context) (_ time.Duration, err error) {
		r := newRequest(1)
		r.number(probeNumber)
		began := time.Now()
		if n, err = startNode(ctx, j.Dir, j.Segment, 0); err != nil {
			return 0, err
		}
		err = clients{n}.put(ctx, 0, r)
		return time.Since(began), err
	}
	t.check = func() error {
		if n == nil {
			return nil
		}
		found, err := n.readBack(context.Background(), j.Load.Lanes, true, probeNumber)
		if err != nil {
			return fmt.Errorf("read back what was acked before the kill: %w", err)
		}
		return found.verdict(j.Acked, true)
	}
	t.close = func() error {
		if n == nil {
			return nil
		}
		return n.stop()
	}
	return t, nil
}

// kill ends a worker with kill -9.
func (w *worker) kill() error {
	err := w.process.Signal(syscall.SIGKILL)
	<-w.process.Done() // its error is the kill
	return errors.Join(err, w.in.Close(), w.out.Close())
}
