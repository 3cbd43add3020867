//go:build !race

package commitlog

import (
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// One append alone costs two allocations: what is waited for, and its channel.
func TestAllocations(t *testing.T) {
	l := openLog(t, Config{FS: vfs.OS{}, Dir: t.TempDir(), SegmentBytes: 16 << 20})
	body := make([]byte, 1024)
	r := Record{Kind: KindHardState, Body: body}
	if n := testing.AllocsPerRun(200, func() {
		if _, err := l.Append(r); err != nil {
			t.Error(err)
		}
	}); n > 2 {
		t.Errorf("%.1f allocations for an append", n)
	}
}
