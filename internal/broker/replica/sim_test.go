package replica

import (
	crypto "crypto/rand"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

var (
	simSeeds    = flag.Int("sim.seeds", 60, "seeds of the simulation of three nodes")
	simFirst    = flag.Uint64("sim.first", 1, "its first seed")
	simPromises = flag.Bool("sim.promises", true, "look at the disk behind each promise that leaves a node, besides the history")
	simTrace    = flag.Bool("sim.trace", false, "print what happens in it")
)

const (
	simSegment = 128 << 10
	simTail    = 4 << 10          // bytes of applied entries in memory: who is a little behind needs the log
	simChaos   = 20 * time.Second // of faults
	simCalm    = 40 * time.Second // in which the nodes must agree again
)

// Three nodes under faults that a seed draws: messages late, lost, doubled, out of order, links cut in one direction, nodes killed, paused, without power, disks
// that are slow or fail. Nothing that was acked is lost, and every check of history holds. A failure prints its seed:
//
//	go test ./internal/broker/replica -run TestSimulation -sim.first=SEED -sim.seeds=1 -sim.trace
func TestSimulation(t *testing.T) {
	total, elected, taken := 0, 0, 0
	for i := range uint64(*simSeeds) {
		seed := *simFirst + i
		w, err := simulate(seed)
		if err != nil {
			t.Fatalf("seed %d after %v: %v\nagain: go test ./internal/broker/replica -run TestSimulation -sim.first=%d -sim.seeds=1 -sim.trace", seed, w.now, err, seed)
		}
		for g := range w.history.groups {
			total += w.history.groups[g].acked
			elected += len(w.history.groups[g].leaders)
		}
		taken += w.taken
	}
	t.Logf("%d schedules, %d commands acked, %d terms with a leader, %d states taken over", *simSeeds, total, elected, taken)
	if n := *simSeeds; n >= 50 && (total < 100*n || elected < 5*n || taken < n/10) {
		t.Error("too little happens in them")
	}
}

// The same seed is the same run, event by event.
func TestSimulationRepeats(t *testing.T) {
	for seed := range uint64(3) {
		a, err := simulate(seed)
		must(t, err)
		b, err := simulate(seed)
		must(t, err)
		if a.trace.Sum64() != b.trace.Sum64() || a.steps != b.steps {
			t.Errorf("seed %d: %d events the first time, %d the second, or others", seed, a.steps, b.steps)
		}
	}
}

// simulate runs the schedule of a seed.
func simulate(seed uint64) (w *world, err error) {
	source := rand.NewPCG(seed, 7)
	w = &world{rng: rand.New(source), trace: fnv.New64a()}
	w.dice = dice{w.rng}
	w.history, w.deadly, w.pause = newHistory(w), 1, 2*time.Second
	if seed%4 == 0 { // nobody leads for long
		w.deadly, w.pause = 4, time.Second
	}
	random := crypto.Reader
	crypto.Reader = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}) // raft draws its election timeouts there, the log its nonces
	defer func() {
		crypto.Reader = random
		for _, n := range w.nodes {
			if n != nil && n.up {
				n.up = false
				_ = n.log.Close()
			}
		}
		switch broken := recover().(type) {
		case nil:
		case violation:
			err = broken.error
		default:
			err = fmt.Errorf("panic: %v", broken)
		}
	}()
	for i := range w.nodes {
		w.nodes[i] = &simNode{w: w, id: uint64(i + 1), mem: vfs.NewMemory(), unsynced: map[string][]region{}, offset: time.Duration(w.rng.IntN(7200)-3600) * time.Second}
		if i > 0 || w.chance(0.8) {
			w.nodes[i].start()
		} else { // one comes late, with an empty disk
			w.after(w.dice.Duration(simChaos), w.nodes[i].restart)
		}
	}
	w.chaos = true
	for range 3 {
		w.after(w.dice.Duration(time.Second), w.client)
	}
	w.after(w.dice.Duration(3*time.Second), w.trouble)
	w.run(simChaos)
	if err := w.calm(); err != nil {
		return w, err
	}
	for _, n := range w.nodes { // and now nothing but what was synced is left
		n.powerCut(vfs.Damage{})
	}
	return w, w.calm()
}

// calm ends all faults and waits until the nodes take commands and agree.
func (w *world) calm() error {
	w.note("calm")
	w.chaos = false
	w.loss, w.twice, w.late = 0, 0, 0
	w.cut = [simNodes + 1][simNodes + 1]bool{}
	var before [simGroups]int
	for g := range before {
		before[g] = w.history.groups[g].acked
	}
	for _, n := range w.nodes {
		n.slow, n.failSync, n.full, n.resumes = 0, false, false, min(n.resumes, w.now)
		n.restart()
	}
	err := errors.New("nothing happened")
	for until := w.now + simCalm; w.now < until && err != nil; {
		for g := range before {
			w.call(uint16(g), w.leaderOf(uint16(g)))
		}
		w.run(w.now + 500*time.Millisecond)
		err = nil
		for g := range before {
			if w.history.groups[g].acked == before[g] {
				err = fmt.Errorf("group %d takes no command %v after the last fault", g, simCalm)
			}
		}
	}
	if err == nil {
		for until := w.now + simCalm; ; {
			w.run(w.now + 500*time.Millisecond)
			if err = w.history.complete(); err == nil || w.now >= until {
				break
			}
		}
	}
	return err
}
