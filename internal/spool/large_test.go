package spool

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// H12: a cache far larger than the memory of the process that opens it. It is read as a stream: what stays is a few bytes for each message, whatever they hold, and the
// buffer of a segment or some, which the collector has not taken yet.
func TestLargeCacheIsReadAsAStream_H12(t *testing.T) {
	const lanes, rounds, list, size = 8, 24, 32, 64 << 10 // 384 MiB
	dir := t.TempDir()
	o := openSpool(t, Config{FS: vfs.OS{}, Dir: dir, MinFree: 1}, owner)
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			name := relay.CacheLane{Destination: "d", Lane: relay.Lane{Topic: "orders", Index: int32(lane)}}
			var ids [list]relay.ID
			for round := range rounds {
				for i := range ids {
					ids[i] = relay.ID(round*list + i + 1)
				}
				if n, err := o.Put(lease, name, batch(size, ids[:]...)); err != nil || n != list {
					t.Errorf("%d of %d messages put: %v", n, list, err)
					return
				}
			}
		})
	}
	wg.Wait()
	must(t, o.stop())
	bytes := int64(0)
	must(t, filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			bytes += info.Size()
		}
		return err
	}))

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SPOOL_TEST_OPEN="+dir, "SPOOL_TEST_MEMORY=yes")
	began := time.Now()
	said, err := cmd.CombinedOutput()
	took := time.Since(began)
	var peak uint64 // not what the system says: that begins with the most that this process took
	if _, scanned := fmt.Sscanf(string(said), "<nil> %d", &peak); err != nil || scanned != nil {
		t.Fatalf("open: %s, %v", said, err)
	}
	t.Logf("%d MiB with %d messages were opened in %v by a process that took %d MiB at most", bytes>>20, lanes*rounds*list, took.Round(time.Millisecond), peak>>20)
	if bytes < 384<<20 || peak > 128<<20 {
		t.Errorf("%d MiB of cache took %d MiB of memory", bytes>>20, peak>>20)
	}
	again := openSpool(t, Config{FS: vfs.OS{}, Dir: dir, MinFree: 1}, owner)
	if again.found.Messages != lanes*rounds*list || again.found.Unread+again.found.Dropped > 0 {
		t.Errorf("found %+v", again.found)
	}
}
