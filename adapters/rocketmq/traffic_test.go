package rocketmq

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// traffic publishes to every lane of a topic as the engine does: one batch in flight per lane, each presented unchanged until it is acked.
type traffic struct {
	t     *testing.T
	p     *Publisher
	topic string
	lanes int
	size  int // messages of a batch
	kills int // of a master, so far

	stop  chan struct{}
	tasks sync.WaitGroup
	acks  atomic.Int64 // batches
	busy  atomic.Int64 // Publish calls that run

	mu    sync.Mutex
	acked [][]string         // by lane, waybill-seq in order
	where map[string]int64   // offset said
	kinds map[relay.Kind]int // outcomes of batches
	codes map[string]int     // of what was not acked
	doubt int                // batches that this very try may have stored
	worst map[relay.Kind]time.Duration
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
		key := fmt.Sprint("key of lane ", i)
		if f.p.cfg.Transactional {
			key = ""
		}
		batch := ids(f.topic, key, numbers(id, id+f.size-1)...)
		for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
			begun := time.Now()
			f.busy.Add(1)
			out := f.p.Publish(within(f.t, 2*patience), lane, batch)
			f.busy.Add(-1)
			if f.note(i, batch, out, time.Since(begun)) {
				break
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
		if out[0].Kind == relay.Unknown && !out[0].Earlier {
			f.doubt++
		}
		return false
	}
	f.acks.Add(1)
	for k, m := range batch {
		seq := strconv.Itoa(int(m.ID))
		f.acked[i] = append(f.acked[i], seq)
		f.where[fmt.Sprint(i, "/", seq)] = out[k].At.Offset
	}
	return true
}

// more waits until more batches were acked.
func (f *traffic) more(n int64) {
	f.t.Helper()
	before := f.acks.Load()
	eventually(f.t, fmt.Sprintf("%d more batches acked", n), func() bool { return f.acks.Load() >= before+n })
}

// verdict ends the traffic and demands that the broker has everything that was acked, where it was said to lie, first copies in order; and no more copies than
// ambiguous answers explain.
func (f *traffic) verdict(cfg Config) {
	f.t.Helper()
	close(f.stop)
	f.tasks.Wait()
	first := make([][]string, f.lanes)
	seen, misplaced, copies, torn := map[string]int{}, 0, 0, 0
	at := map[string]bool{} // lane, seq and offset
	err := ReadAll(within(f.t, 2*patience), cfg, f.topic, func(r Record) error {
		if r.Torn {
			torn++
			return nil
		}
		seq, _ := r.Property(record.HeaderSeq)
		name := fmt.Sprint(r.Lane, "/", seq)
		place := fmt.Sprint(r.Offset)
		if number, half := r.Property(propHalf); half {
			place = number
		}
		at[fmt.Sprint(name, "@", place)] = true
		if seen[name]++; seen[name] == 1 {
			first[r.Lane] = append(first[r.Lane], seq)
		} else {
			copies++
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	total := 0
	for i := range f.lanes {
		total += len(first[i])
		if !slices.Equal(first[i], f.acked[i]) {
			f.t.Errorf("lane %d: %d acked, %d stored, or another order; %s", i, len(f.acked[i]), len(first[i]), difference(f.acked[i], first[i]))
		}
	}
	for name, offset := range f.where {
		if !at[fmt.Sprint(name, "@", offset)] {
			misplaced++
		}
	}
	if misplaced > 0 {
		f.t.Errorf("%d messages are not where their outcome says", misplaced)
	}
	if most := f.doubt * f.size; copies > most {
		f.t.Errorf("%d copies too many, %d ambiguous answers explain %d", copies, f.doubt, most)
	}
	if torn > f.kills {
		f.t.Errorf("%d messages that the broker died of, which was killed %d times", torn, f.kills)
	}
	if n := f.p.Counters().UnlistedErrors; n != 0 {
		f.t.Errorf("%d answers that the error map does not know", n)
	}
	f.t.Logf("%d messages, %d copies more, %d torn, %d ambiguous answers; batches %v, %v; longest %v; %+v", total, copies, torn, f.doubt, f.kinds, f.codes, f.worst, f.p.Counters())
}

// kill kills the master with -9.
func (f *traffic) kill(r *testservices.Rocket) {
	f.t.Helper()
	f.kills++
	must(f.t, r.Kill(testservices.Master))
}

// difference tells the first place where two lists part.
func difference(acked, stored []string) string {
	at := 0
	for at < min(len(acked), len(stored)) && acked[at] == stored[at] {
		at++
	}
	some := func(list []string) []string { return list[min(at, len(list)):min(at+3, len(list))] }
	return fmt.Sprintf("from number %d on %q are acked and %q stored", at, some(acked), some(stored))
}

// outlives kills the master with -9 again and again, each time after more batches and with one in flight, and ends with the verdict.
func (f *traffic) outlives(r *testservices.Rocket, kills int, more int64) {
	f.t.Helper()
	for range kills {
		f.more(more)
		eventually(f.t, "something is in flight", func() bool { return f.busy.Load() > 0 })
		f.kill(r)
		must(f.t, r.Start(testservices.Master))
	}
	f.more(more)
	f.verdict(readConfig(r.NameServers))
	if f.count(relay.Unknown)+f.count(relay.Unavailable) == 0 {
		f.t.Error("the kills were not noticed: the run proves nothing")
	}
}

func (f *traffic) count(k relay.Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kinds[k]
}

func (f *traffic) code(code string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.codes[code]
}

// failed is how often something was not acked.
func (f *traffic) failed() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.codes {
		n += k
	}
	return n
}
