package rabbitmq

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// TestWindow plays a broker that confirms and refuses at random, and demands the promises of the window at each step.
func TestWindow(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %#x", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 3000 {
		strict := r.IntN(2) == 0
		var batch []*relay.Message
		for i := range 1 + r.IntN(30) {
			m := &relay.Message{ID: relay.ID(i + 1), Topic: "t"}
			if r.IntN(5) > 0 {
				m.Key = fmt.Sprint("k", r.IntN(6))
			}
			batch = append(batch, m)
		}
		play(t, r, batch, strict)
		if t.Failed() {
			return
		}
	}
}

func play(t *testing.T, r *rand.Rand, batch []*relay.Message, strict bool) {
	const none, out, stored, lost = 0, 1, 2, 3
	w := newWindow(batch, strict)
	is := make([]int, len(batch))
	counted := make([]bool, len(batch))
	var flying []int
	if r.IntN(3) == 0 { // an earlier call left the first one on its way
		w.adopt(0)
		is[0], flying = out, []int{0}
	}
	before := func(i int, bad func(j int) bool) bool {
		for j := range i {
			if batch[j].Key != "" && batch[j].Key == batch[i].Key && bad(j) {
				return true
			}
		}
		return false
	}
	for {
		for len(flying) < 8 {
			i, ok := w.take()
			if !ok {
				break
			}
			if is[i] != none || before(i, func(j int) bool { return is[j] == lost || strict && is[j] != stored || is[j] == none }) {
				t.Errorf("strict %v: message %d was handed out while %v", strict, i, is)
				return
			}
			is[i], flying = out, append(flying, i)
		}
		if len(flying) == 0 {
			break
		}
		at := r.IntN(len(flying))
		i := flying[at]
		flying = slices.Delete(flying, at, at+1)
		if r.IntN(6) == 0 {
			is[i] = lost
			w.fail(i)
			continue
		}
		is[i] = stored
		counted[i] = w.confirmed(i)
		if counted[i] != !before(i, func(j int) bool { return is[j] == lost }) {
			t.Errorf("strict %v: message %d counted as stored: %v, while %v", strict, i, counted[i], is)
		}
		if !counted[i] {
			w.fail(i)
		}
	}
	for i := range batch {
		if is[i] == none && !before(i, func(j int) bool { return is[j] == lost }) {
			t.Errorf("strict %v: message %d was never handed out: %v", strict, i, is)
		}
	}
}

func TestChannelOfAKey(t *testing.T) {
	used := map[int32]int{}
	for i := range 1000 {
		used[channelOf(&relay.Message{Key: fmt.Sprint("key ", i)}, 8)]++
	}
	if len(used) != 8 || slices.Min([]int{used[0], used[1], used[2], used[3], used[4], used[5], used[6], used[7]}) < 60 {
		t.Errorf("1,000 keys on 8 channels: %v", used)
	}
	if a, b := channelOf(&relay.Message{ID: 1000}, 8), channelOf(&relay.Message{ID: 1499}, 8); a != b || a != 2 {
		t.Errorf("a run without keys lies on channels %d and %d", a, b)
	}
	h := fnv.New32a()
	h.Write([]byte("order-17"))
	if got := channelOf(&relay.Message{Key: "order-17"}, 8); got != int32(h.Sum32()%8) || got != 6 {
		t.Errorf("order-17 is on channel %d: keys have moved", got)
	}
}
