package commitlog

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// A disk without room for another segment, or for its name, refuses appends and leaves the log as it was.
func TestFullDisk(t *testing.T) {
	for name, kind := range map[string]vfs.Kind{"segment": vfs.Create, "name": vfs.Rename} {
		t.Run(name, func(t *testing.T) { fullDisk(t, kind) })
	}
}

func fullDisk(t *testing.T, kind vfs.Kind) {
	cfg := memoryConfig()
	var mu sync.Mutex
	full := false
	cfg.FS = vfs.Inject(cfg.FS, func(op vfs.Op) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		if full && op.Kind == kind {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	})
	set := func(v bool) {
		mu.Lock()
		defer mu.Unlock()
		full = v
	}
	l := openLog(t, cfg)
	set(true)
	var want []string
	for {
		s := strings.Repeat("x", 3000)
		_, err := l.Append(text(s))
		if err != nil {
			if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("append: %v", err)
			}
			break
		}
		want = append(want, s)
	}
	if _, err := l.Append(text("still")); !errors.Is(err, ErrFull) {
		t.Errorf("append: %v", err)
	}
	set(false)
	_, err := l.Append(text("room again"))
	must(t, err)
	must(t, l.stop())
	l = openLog(t, cfg)
	if len(l.bodies) != len(want)+1 || l.bodies[len(want)] != "room again" {
		t.Errorf("%d records of %d", len(l.bodies), len(want)+1)
	}
}

// When a full disk refuses an append, everything that the same goroutine had begun behind it is refused too, until it has asked for the new number.
func TestFullDiskLeavesNoGap(t *testing.T) {
	var full atomic.Bool
	cfg := Config{FS: vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
		if full.Load() && op.Kind == vfs.Create {
			return 0, syscall.ENOSPC
		}
		return 0, nil
	}), SegmentBytes: 64 << 10}
	l := openLog(t, cfg)
	full.Store(true)
	seen := l.Refused()
	var want []string
	var begun []Pending
	for n := 0; ; n++ {
		p, err := l.Begin(seen, text(fmt.Sprintf("%06d%s", n, strings.Repeat("x", 3000))))
		if errors.Is(err, ErrFull) {
			break
		}
		must(t, err)
		begun = append(begun, p)
	}
	stored := 0
	for i, p := range begun {
		<-p.Done()
		switch _, err := p.Wait(); {
		case err == nil && stored == i:
			stored++
			want = append(want, fmt.Sprintf("%06d", i))
		case err == nil:
			t.Errorf("append %d is stored, %d is not", i, stored)
		case !errors.Is(err, ErrFull):
			t.Errorf("append %d: %v", i, err)
		}
	}
	if stored == len(begun) {
		t.Error("nothing that had begun was refused")
	}
	full.Store(false)
	if _, err := l.Begin(seen, text("too early")); !errors.Is(err, ErrFull) {
		t.Errorf("begun with the old number: %v", err)
	}
	p, err := l.Begin(l.Refused(), text("behind"))
	must(t, err)
	_, err = p.Wait()
	must(t, err)
	want = append(want, "behind")
	must(t, l.stop())
	l = openLog(t, cfg)
	if len(l.bodies) != len(want) {
		t.Fatalf("%d records, want %d", len(l.bodies), len(want))
	}
	for i := range want {
		if !strings.HasPrefix(l.bodies[i], want[i]) {
			t.Errorf("record %d is %.10q, want %q", i, l.bodies[i], want[i])
		}
	}
}
