package kafka

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// traffic publishes to every lane of a topic as the engine does: one batch in flight per lane, each presented unchanged until it is acked.
type traffic struct {
	t     *testing.T
	p     *Publisher
	topic string
	lanes int
	size  int // messages of a batch

	stop  chan struct{}
	tasks sync.WaitGroup
	acks  atomic.Int64 // batches
	busy  atomic.Int64 // Publish calls that run

	mu    sync.Mutex
	acked [][]string         // by lane, waybill-seq in order
	where map[string]int64   // offset said
	kinds map[relay.Kind]int // outcomes of batches
	codes map[string]int     // of what was not acked
	worst map[relay.Kind]time.Duration
	heals []time.Duration // how long each batch took from its first trouble to its ack
}

func drive(t *testing.T, p *Publisher, topic string, lanes, size int) *traffic {
	f := &traffic{t: t, p: p, topic: topic, lanes: lanes, size: size, stop: make(chan struct{}), acked: make([][]string, lanes),
		where: map[string]int64{}, kinds: map[relay.Kind]int{}, codes: map[string]int{}, worst: map[relay.Kind]time.Duration{}}
	for i := range lanes {
		f.tasks.Go(func() { f.lane(i) })
	}
	return f
}

func (f *traffic) lane(i int) {
	lane := relay.Lane{Topic: f.topic, Index: int32(i)}
	for id := 1; ; id += f.size {
		batch := ids(f.topic, fmt.Sprint("key of lane ", i), span(id, id+f.size-1)...)
		var trouble time.Time
		for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
			begun := time.Now()
			f.busy.Add(1)
			out := f.p.Publish(within(f.t, 2*patience), lane, batch)
			f.busy.Add(-1)
			if f.note(i, batch, out, time.Since(begun)) {
				f.healed(trouble)
				break
			}
			if trouble.IsZero() {
				trouble = begun
			}
			<-time.After(pause) // the engine's back-off
		}
		select {
		case <-f.stop:
			return
		default:
		}
	}
}

func (f *traffic) note(i int, batch []*relay.Message, out []relay.Outcome, took time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kinds[out[0].Kind]++
	f.worst[out[0].Kind] = max(f.worst[out[0].Kind], took)
	if out[0].Kind != relay.Acked {
		f.codes[out[0].Code]++
		return false
	}
	f.acks.Add(1)
	for k, m := range batch {
		seq := strconv.Itoa(int(m.ID))
		f.acked[i] = append(f.acked[i], seq)
		if out[k].At.HasOffset {
			f.where[fmt.Sprint(i, "/", seq)] = out[k].At.Offset
		}
	}
	return true
}

func (f *traffic) healed(since time.Time) {
	if !since.IsZero() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.heals = append(f.heals, time.Since(since))
	}
}

// recovery is how long that share of the batches that met trouble took at most.
func (f *traffic) recovery(share float64) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.heals)
	if len(f.heals) == 0 {
		return 0
	}
	return f.heals[int(float64(len(f.heals)-1)*share)]
}

// more waits until more batches were acked.
func (f *traffic) more(n int64) {
	f.t.Helper()
	before := f.acks.Load()
	eventually(f.t, fmt.Sprintf("%d more batches acked", n), func() bool { return f.acks.Load() >= before+n })
}

// verdict ends the traffic and demands that the broker has exactly what was acked, in order, where it was said to lie. It returns how many messages that are.
func (f *traffic) verdict(brokers []string) int {
	f.t.Helper()
	close(f.stop)
	f.tasks.Wait()
	stored := make([][]string, f.lanes)
	misplaced := 0
	err := ReadAll(within(f.t, 2*patience), brokers, f.topic, func(r Record) error {
		seq, _ := r.Header(record.HeaderSeq)
		stored[r.Partition] = append(stored[r.Partition], seq)
		if at, said := f.where[fmt.Sprint(r.Partition, "/", seq)]; said && at != r.Offset {
			misplaced++
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	total := 0
	for i := range f.lanes {
		total += len(stored[i])
		if !slices.Equal(stored[i], f.acked[i]) {
			f.t.Errorf("lane %d: %d acked, %d stored, or another order", i, len(f.acked[i]), len(stored[i]))
		}
	}
	if misplaced > 0 {
		f.t.Errorf("%d messages are not where their outcome says", misplaced)
	}
	if n := f.p.Counters().SessionsLapsed; n != 0 {
		f.t.Errorf("%d sessions lapsed", n)
	}
	f.t.Logf("%d messages; batches %v, %v; longest %v, healed 99 %% %v; %+v", total, f.kinds, f.codes, f.worst, f.recovery(0.99), f.p.Counters())
	return total
}

func (f *traffic) count(k relay.Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kinds[k]
}

func (f *traffic) lengths() (n []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, list := range f.acked {
		n = append(n, len(list))
	}
	return n
}
