package broker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// What a source appends is stored once, also when the node died between the ack and what the source remembers, and when it forgot everything.
func TestSourceSurvivesPowerCuts(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		cfg, fsys := memory()
		var fs vfs.FS = fsys
		sent, at, epoch := 0, map[int64]int64{}, uint64(0)
		id := SourceID{7}
		for life := range 5 {
			n := startNode(t, cfg, fs)
			if life == 0 {
				must(t, n.CreateTopic(t.Context(), Topic{Name: "t", Partitions: 1}))
			}
			epoch++
			must(t, n.Fence(t.Context(), id, epoch))
			if err := n.Fence(t.Context(), id, epoch-1); !errors.Is(err, ErrFenced) {
				t.Fatalf("an older epoch: %v", err)
			}
			state, err := n.SourceState(t.Context(), id, epoch, "t", 0)
			must(t, err)
			seq := state.Seq
			for i := range 1 + rnd.IntN(30) {
				first := max(0, sent-rnd.IntN(4)) // again, as after a lost answer
				var ids []int64
				for k := range 1 + rnd.IntN(5) {
					ids = append(ids, int64(first+k))
				}
				sent = max(sent, first+len(ids))
				for len(ids) > 0 {
					seq++
					var sums []uint32
					var values []string
					for _, k := range ids {
						sums, values = append(sums, uint32(k)), append(values, fmt.Sprint(k))
					}
					ack, err := n.AppendFrom(t.Context(), Source{ID: id, Epoch: epoch, Seq: seq, Floor: -1}, "t", 0, batchOf(values...), ids, sums, false)
					var part *PartialError
					offsets := ack.Offsets
					if errors.As(err, &part) {
						offsets, err = part.Offsets, nil
					}
					must(t, err)
					var rest []int64
					for k, m := range ids {
						if offsets[k] < 0 {
							rest = append(rest, m)
							continue
						}
						if was, stored := at[m]; stored && was != offsets[k] {
							t.Fatalf("seed %d, life %d, call %d: message %d lies at %d and at %d", seed, life, i, m, was, offsets[k])
						}
						at[m] = offsets[k]
					}
					ids = rest
				}
			}
			if rnd.IntN(2) == 0 {
				must(t, n.host.Checkpoint(t.Context()))
			}
			image := fsys.(*vfs.Memory).Crash(vfs.Damage{Writes: rnd.Float64(), Names: rnd.Float64(), Grows: rnd.Float64()}, rnd)
			must(t, n.stop())
			fs, fsys = image, image
		}
		n := startNode(t, cfg, fs)
		got := n.all(t, "t", 0)
		if len(got) != sent {
			t.Errorf("seed %d: %d records, want %d: %v", seed, len(got), sent, got)
		}
		for m, offset := range at {
			if offset >= int64(len(got)) || got[offset] != fmt.Sprint(m) {
				t.Errorf("seed %d: message %d does not lie at %d", seed, m, offset)
			}
		}
		must(t, n.stop())
	}
}
