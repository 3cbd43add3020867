package broker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

var (
	chaosSeeds = flag.Int("chaos.seeds", 4, "seeds of the whole broker under faults")
	chaosFirst = flag.Uint64("chaos.first", 1, "its first seed")
)

// chaosTime is how long faults go on in a schedule.
const chaosTime = 25 * time.Second

// Three whole nodes under faults: power cuts, kills, disks that fail, one that comes late with an empty disk, links cut, messages lost, late and out of order, and
// records given up behind the back of who is away. What a source was told is stored once, where it was told, on every node. The seed draws the faults; goroutines
// run as they will:
//
//	go test ./internal/broker -run TestChaos -chaos.first=SEED -chaos.seeds=1
func TestChaos(t *testing.T) {
	acks, states, unsure := 0, 0, 0
	for i := range uint64(*chaosSeeds) {
		synctest.Test(t, func(t *testing.T) {
			h, err := chaos(t, *chaosFirst+i)
			if err != nil || t.Failed() {
				t.Fatalf("seed %d: %v", *chaosFirst+i, err)
			}
			t.Logf("seed %d: %+v, %d states", *chaosFirst+i, h.tested, h.tr.states)
			acks, states, unsure = acks+h.tested.acks, states+h.tr.states, unsure+h.tested.unsure
		})
	}
	if n := *chaosSeeds; n >= 4 && (acks < 500*n || states < n || unsure < n) {
		t.Errorf("too little happens: %d acks, %d states for followers, %d open questions", acks, states, unsure)
	}
}

func chaos(t *testing.T, seed uint64) (*history, error) {
	tr := newTrio(t, Config{Dir: "node", SegmentBytes: 256 << 10, RetentionEvery: 2 * time.Second, FlushTimeout: 3 * time.Second}, seed)
	defer tr.stopAll()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	late := int(seed % 4) // 3 = nobody
	for i, m := range tr.members {
		if i != late {
			tr.start(m)
		}
	}
	h := newHistory(tr)
	for _, topic := range []Topic{{Name: "orders", Partitions: 4, Bytes: 60 << 10}, {Name: "small", Partitions: 2, Bytes: 8 << 10}} {
		err := tr.until(func() error {
			return tr.any(func(n *Node) error {
				if err := n.CreateTopic(ctx, topic); !errors.Is(err, ErrTopicExists) {
					return err
				}
				return nil
			})
		})
		if err != nil {
			return h, fmt.Errorf("create: %w", err)
		}
		for p := range topic.Partitions {
			h.add(topic.Name, int32(p))
		}
	}
	more, enough := context.WithTimeout(ctx, chaosTime)
	defer enough()
	var working sync.WaitGroup
	for _, l := range h.lanes {
		working.Go(func() { l.work(ctx, more) })
	}
	working.Go(func() {
		for more.Err() == nil {
			h.look(more, h.lanes[tr.dice(len(h.lanes))])
			time.Sleep(20 * time.Millisecond)
		}
	})
	for more.Err() == nil {
		tr.trouble()
		time.Sleep(time.Duration(tr.dice(1500)) * time.Millisecond)
	}
	tr.calm()
	finished := make(chan struct{})
	go func() { working.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(3 * time.Minute):
		cancel()
		<-finished
		return h, errors.New("the sources do not get through after the last fault")
	}
	if err := tr.until(h.check); err != nil {
		return h, err
	}
	tr.crash(func() vfs.Damage { return vfs.Damage{} }, tr.members[:]...) // and now nothing but what was synced is left
	tr.calm()
	for _, l := range h.lanes { // somebody leads, and takes something
		before := h.tested.acks
		err := tr.until(func() error {
			if !l.step(ctx) || h.tested.acks == before {
				return fmt.Errorf("%s takes nothing", l.name())
			}
			return nil
		})
		if err != nil {
			return h, err
		}
	}
	return h, tr.until(h.check)
}

// trouble is one fault.
func (tr *trio) trouble() {
	m := tr.members[tr.dice(3)]
	away := time.Duration(100+tr.dice(6000)) * time.Millisecond
	back := func() { time.AfterFunc(away, func() { tr.start(m) }) }
	switch tr.dice(12) {
	case 0, 1:
		tr.crash(func() vfs.Damage { return vfs.Damage{Writes: 1, Names: 1, Grows: 1} }, m) // kill -9: what was written stays in the page cache
		back()
	case 2, 3:
		tr.crash(tr.damage, m)
		back()
	case 4:
		tr.crash(tr.damage, tr.members[:]...)
		for _, m := range tr.members {
			time.AfterFunc(time.Duration(tr.dice(2000))*time.Millisecond, func() { tr.start(m) })
		}
	case 5:
		if l := m.life.Load(); l != nil && !l.gone.Load() {
			l.badIO.Store(true)
			time.Sleep(time.Second)
			tr.crash(tr.damage, m)
			back()
		}
	case 6:
		tr.stop(m)
		back()
	case 7, 8, 9:
		out, in := tr.chance(0.8), tr.chance(0.8)
		tr.isolate(m.at, out, in)
		time.AfterFunc(away, func() { tr.isolate(m.at, false, false) })
	default:
		tr.net(0.3*float64(tr.dice(100))/100, 0.2*float64(tr.dice(100))/100)
		time.AfterFunc(away, func() { tr.net(0, 0) })
	}
}

// damage is what a power cut leaves.
func (tr *trio) damage() vfs.Damage {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return vfs.Damage{Writes: tr.rng.Float64(), Names: tr.rng.Float64(), Grows: tr.rng.Float64()}
}

func (tr *trio) isolate(at int, out, in bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for other := range 3 {
		tr.cut[at][other], tr.cut[other][at] = out, in
	}
}

func (tr *trio) net(loss, late float64) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.loss, tr.late = loss, late
}

// calm ends all faults.
func (tr *trio) calm() {
	time.Sleep(10 * time.Second) // those that end by themselves
	for i, m := range tr.members {
		tr.isolate(i, false, false)
		tr.start(m)
	}
	tr.net(0, 0)
}
