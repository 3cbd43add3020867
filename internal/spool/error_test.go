package spool

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

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
