//go:build !race

package broker

import (
	"path"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// The whole way of an append costs at most two allocations for each record when a request brings 100; what a request costs by itself is bounded too. Both are
// those of everything that runs meanwhile: raft, log and apply.
func TestAllocations(t *testing.T) {
	n := startNode(t, Config{Dir: path.Join(t.TempDir(), "node"), SegmentBytes: 16 << 20, FlushTimeout: time.Minute}, vfs.OS{})
	must(t, n.CreateTopic(t.Context(), Topic{Name: "orders", Partitions: 1}))
	for _, c := range []struct {
		records int
		most    float64 // for each record
	}{{100, 2}, {1, 100}} {
		values := make([]string, c.records)
		for i := range values {
			values[i] = strings.Repeat("v", 1024)
		}
		batch, ids, sums := batchOf(values...), make([]int64, c.records), make([]uint32, c.records)
		seq, floor, epoch := uint64(0), int64(-1), uint64(c.records)
		for name, once := range map[string]func(){
			"Append": func() {
				_, err := n.Append(t.Context(), "orders", 0, batch)
				must(t, err)
			},
			"AppendFrom": func() {
				seq++
				for i := range ids {
					ids[i] = int64(seq)*1000 + int64(i)
				}
				ack, err := n.AppendFrom(t.Context(), Source{ID: SourceID{byte(c.records)}, Epoch: epoch, Seq: seq, Floor: floor}, "orders", 0, batch, ids, sums, false)
				must(t, err)
				floor = ack.Offsets[len(ack.Offsets)-1] + 1
			},
		} {
			each := testing.AllocsPerRun(200, once) / float64(c.records)
			t.Logf("%s with %d records: %.2f allocations for each record", name, c.records, each)
			if each > c.most {
				t.Errorf("%s with %d records: %.2f allocations for each record, at most %.0f", name, c.records, each, c.most)
			}
		}
	}
}
