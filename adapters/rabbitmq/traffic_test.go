package rabbitmq

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/relay"
)

// traffic publishes to lanes of an exchange as the engine does: one batch in flight per lane, what was not acked presented again until it is, and after that
// the next batch. Each message of a batch has a key of its own, as the engine makes batches for brokers that do not store them whole.
type traffic struct {
	t     *testing.T
	p     *Publisher
	topic string
	size  int // messages of a batch
	most  int // of a lane; 0 = until the end

	stop  chan struct{} // no next batch
	gone  chan struct{} // the test is over, whatever became of it
	tasks sync.WaitGroup
	acks  atomic.Int64 // messages
	busy  atomic.Int64 // Publish calls that run

	mu    sync.Mutex
	acked map[string][]int // by key, ids in the order of the acks
	again int              // messages presented again after unknown: each may be stored once more
	kinds map[relay.Kind]int
	codes map[string]int
	worst time.Duration // of a call
}

// drive starts traffic on every lane of the topic. Keys are chosen so that each lies in its lane.
func drive(t *testing.T, p *Publisher, topic string, size, most int) *traffic {
	f := &traffic{t: t, p: p, topic: topic, size: size, most: most, stop: make(chan struct{}), gone: make(chan struct{}), acked: map[string][]int{}, kinds: map[relay.Kind]int{},
		codes: map[string]int{}}
	keys := map[int32][]string{}
	for i := 0; len(keys) < p.cfg.Channels || slices.ContainsFunc(slices.Collect(maps.Values(keys)), func(k []string) bool { return len(k) < size }); i++ {
		key := fmt.Sprint("key ", i)
		c := channelOf(&relay.Message{Key: key}, p.cfg.Channels)
		keys[c] = append(keys[c], key)
	}
	t.Cleanup(func() { close(f.gone); f.tasks.Wait() })
	for c, list := range keys {
		f.tasks.Go(func() { f.lane(c, list[:size]) })
	}
	return f
}

func (f *traffic) lane(channel int32, keys []string) {
	at := relay.Lane{Topic: f.topic, Index: channel}
	for n := 0; f.most == 0 || n < f.most; n += f.size {
		batch := make([]*relay.Message, len(keys))
		for i, key := range keys { // ids ascend in each lane, and are unique
			batch[i] = ids(f.topic, key, (n+i)*f.p.cfg.Channels+int(channel)+1)[0]
		}
		for pause := 10 * time.Millisecond; len(batch) > 0; pause = min(2*pause, 500*time.Millisecond) {
			begun := time.Now()
			f.busy.Add(1)
			out := f.p.Publish(within(f.t, 20*time.Second), at, batch)
			f.busy.Add(-1)
			if batch = f.note(batch, out, time.Since(begun)); len(batch) > 0 {
				select {
				case <-time.After(pause): // the engine's back-off
				case <-f.gone:
					return
				}
			}
		}
		select {
		case <-f.stop:
			return
		case <-f.gone:
			return
		default:
		}
	}
}

// note counts a batch's outcomes and returns what is to be presented again.
func (f *traffic) note(batch []*relay.Message, out []relay.Outcome, took time.Duration) (rest []*relay.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.worst = max(f.worst, took)
	for i, o := range out {
		f.kinds[o.Kind]++
		if o.Kind == relay.Acked {
			f.acked[batch[i].Key] = append(f.acked[batch[i].Key], int(batch[i].ID))
			f.acks.Add(1)
			continue
		}
		f.codes[o.Code]++
		if o.Kind == relay.Unknown {
			f.again++
		}
		rest = append(rest, batch[i])
	}
	return rest
}

// more waits until more messages were acked.
func (f *traffic) more(n int64) {
	f.t.Helper()
	before := f.acks.Load()
	eventually(f.t, fmt.Sprintf("%d more messages acked", n), func() bool { return f.acks.Load() >= before+n })
}

func (f *traffic) count(k relay.Kind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kinds[k]
}

// end ends the traffic, or waits for its end.
func (f *traffic) end() {
	if f.most == 0 {
		close(f.stop)
	}
	f.tasks.Wait()
}

// verdict ends the traffic and judges what lies in the queue.
func (f *traffic) verdict(hosts []string) {
	f.t.Helper()
	f.end()
	f.judge(drain(f.t, hosts, f.topic))
}

// judge demands that the queue has everything that was acked, in the order of each key by first copies, and no more copies than there were ambiguous answers.
func (f *traffic) judge(records []Record) {
	f.t.Helper()
	seen := map[int]bool{}
	firsts := map[string][]int{}
	copies, total := 0, 0
	for _, r := range records {
		m, err := r.Message(f.topic)
		if err != nil {
			f.t.Fatal(err)
		}
		total++
		if seen[int(m.ID)] {
			copies++
			continue
		}
		seen[int(m.ID)] = true
		firsts[m.Key] = append(firsts[m.Key], int(m.ID))
	}
	lost, inverted := 0, 0
	for key, list := range f.acked {
		for _, id := range list {
			if !seen[id] {
				lost++
			}
		}
		if !slices.IsSorted(firsts[key]) {
			inverted++
		}
	}
	if lost > 0 || inverted > 0 {
		f.t.Errorf("%d messages lost, %d keys out of order", lost, inverted)
	}
	if copies > f.again {
		f.t.Errorf("%d duplicates, and only %d ambiguous answers", copies, f.again)
	}
	f.t.Logf("%d acked, %d stored, %d duplicates of at most %d; %v, %v; longest call %v; %+v", f.acks.Load(), total, copies, f.again, f.kinds, f.codes, f.worst, f.p.Counters())
}

// drain takes everything out of a queue, for good.
func drain(t *testing.T, hosts []string, queue string) (all []Record) {
	t.Helper()
	admin(t, hosts, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			return err
		}
		deliveries, err := ch.Consume(queue, "", true, true, false, false, nil)
		if err != nil {
			return err
		}
		for len(all) < q.Messages {
			select {
			case d, ok := <-deliveries:
				if !ok {
					return fmt.Errorf("the connection ended after %d of %d messages", len(all), q.Messages)
				}
				all = append(all, recordOf(&d))
			case <-time.After(patience):
				return fmt.Errorf("%d of %d messages came", len(all), q.Messages)
			}
		}
		for { // what was not counted yet
			select {
			case d := <-deliveries:
				all = append(all, recordOf(&d))
			case <-time.After(500 * time.Millisecond):
				return nil
			}
		}
	})
	return all
}
