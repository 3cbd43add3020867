package commitlog

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// While segments come back as fast as they are used, no file is filled: each byte of the log is written once.
func TestSegmentsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var filled atomic.Int64
		cfg := testConfig
		cfg.Spares = 2
		cfg.FS = vfs.Inject(vfs.NewMemory(), func(op vfs.Op) (int, error) {
			if op.Kind == vfs.Create && strings.Contains(op.Name, spareDir) {
				filled.Add(1)
			}
			return 0, nil
		})
		l := openLog(t, cfg)
		newest := uint64(0)
		for i := range uint64(100) {
			p, err := l.Append(entry(1, i+1, 1, strings.Repeat("x", 5000)))
			must(t, err)
			if p.Segment == newest {
				continue
			}
			newest = p.Segment
			if newest > 2 {
				must(t, l.Release(newest-2))
			}
			time.Sleep(time.Minute) // a spare that is missing is filled meanwhile
		}
		if newest < 30 {
			t.Fatalf("%d segments", newest)
		}
		if n := filled.Load(); n > 8 {
			t.Errorf("%d files were filled for %d segments", n, newest)
		}
		must(t, l.stop())
	})
}
