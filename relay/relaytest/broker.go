package relaytest

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Broker is a broker in memory with scripted answers. Publishers of several relays share it. All methods are safe for concurrent use.
type Broker struct {
	config BrokerConfig

	mu      sync.Mutex
	sizes   map[string]int // lanes of a topic; -1 = missing
	logs    map[relay.Lane][]Record
	calls   []Call
	onLane  map[relay.Lane]int // calls so far
	script  Script
	queue   []Answer
	down    bool
	dead    map[relay.Lane]bool
	hole    map[relay.Lane]chan struct{} // black-holed lanes
	allGo   chan struct{}                // not nil: everything is black-holed until it is closed
	poison  func(*relay.Message) bool
	late    []lateBatch
	epoch   relay.Epoch // highest announced
	opens   int
	clients int // not closed
	delay   time.Duration
}

// BrokerConfig says what kind of broker it is. The zero value is one of 4 lanes a topic that dedupes nothing and fences nobody.
type BrokerConfig struct {
	Lanes     int           // of a topic; 0 = 4; negative = only topics made by Topic exist
	Dedupes   bool          // a batch presented again by the same publisher is stored once
	Fences    bool          // an older epoch is refused
	NoOffsets bool          // acks do not tell the place
	People    bool          // people act: a message that was let pass and retried may come behind newer ones of its key
	Latency   time.Duration // of a normal answer
	MaxBatch  int           // 0 = 500
	MaxBytes  int           // 0 = 900 KiB
}

// Record is one stored message.
type Record struct {
	Lane      relay.Lane
	Offset    int64
	Message   relay.Message
	Publisher string
	Epoch     relay.Epoch
	At        time.Time
}

// Call is one call of Publish, as it was answered.
type Call struct {
	Publisher string
	Epoch     relay.Epoch
	Lane      relay.Lane
	IDs       []relay.ID
	N, LaneN  int // this is the n-th call of the broker and of the lane, from 1
	At        time.Time
	Took      time.Duration
	Outcomes  []relay.Outcome // nil while it runs, and in a Script

	Batch []*relay.Message // only in a Script
}

type lateBatch struct {
	at    time.Time
	from  *Publisher
	lane  relay.Lane
	batch []relay.Message
}

// NewBroker returns an empty broker that answers everything with acks.
func NewBroker(config BrokerConfig) *Broker {
	if config.Lanes == 0 {
		config.Lanes = 4
	}
	if config.MaxBatch == 0 {
		config.MaxBatch = 500
	}
	if config.MaxBytes == 0 {
		config.MaxBytes = 900 << 10
	}
	return &Broker{config: config, sizes: map[string]int{}, logs: map[relay.Lane][]Record{}, onLane: map[relay.Lane]int{}, dead: map[relay.Lane]bool{},
		hole: map[relay.Lane]chan struct{}{}, delay: config.Latency}
}

// Script answers each call of Publish; the zero Answer means: as the broker is, normally. Nil ends it. It is called under the broker's lock and must not call it.
func (b *Broker) Script(script Script) { b.set(func() { b.script = script }) }

// Next answers the next calls of Publish, whichever lanes they are on, before the script is asked.
func (b *Broker) Next(answers ...Answer) { b.set(func() { b.queue = append(b.queue, answers...) }) }

// Down makes the whole broker unavailable: nothing is stored, also not by Open.
func (b *Broker) Down() { b.set(func() { b.down = true }) }

// Up ends Down.
func (b *Broker) Up() { b.set(func() { b.down = false }) }

// LaneDown makes one lane unavailable, or available again.
func (b *Broker) LaneDown(lane relay.Lane, down bool) { b.set(func() { b.dead[lane] = down }) }

// BlackHole makes calls on the given lanes, or on all when none is given, wait without storing anything until their context ends. Release ends it: what waits
// is then answered normally.
func (b *Broker) BlackHole(lanes ...relay.Lane) (release func()) {
	gate := make(chan struct{})
	b.set(func() {
		if len(lanes) == 0 {
			b.allGo = gate
		}
		for _, lane := range lanes {
			b.hole[lane] = gate
		}
	})
	return sync.OnceFunc(func() {
		b.set(func() {
			if b.allGo == gate {
				b.allGo = nil
			}
			for _, lane := range lanes {
				if b.hole[lane] == gate {
					delete(b.hole, lane)
				}
			}
			close(gate)
		})
	})
}

// Poison makes the broker reject the messages for which is is true; others of their batch pass, but those of the same key behind them. Nil ends it.
func (b *Broker) Poison(is func(*relay.Message) bool) { b.set(func() { b.poison = is }) }

// Slow sets the latency of normal answers.
func (b *Broker) Slow(d time.Duration) { b.set(func() { b.delay = d }) }

// Topic sets the number of lanes of a topic; 0 deletes it: its one lane is provisional and answers Config. Publishers see it at their next Open.
func (b *Broker) Topic(topic string, lanes int) {
	b.set(func() {
		b.sizes[topic] = lanes
		if lanes == 0 {
			b.sizes[topic] = -1
		}
	})
}

func (b *Broker) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// Calls returns every call so far, in the order in which they began.
func (b *Broker) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// Clients returns how many publishers are not closed.
func (b *Broker) Clients() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clients
}

// Opens returns how many calls of Open succeeded.
func (b *Broker) Opens() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opens
}

// Records returns what is stored, lane by lane (ordered by name), each in the order of the broker.
func (b *Broker) Records() []Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settleLate()
	lanes := make([]relay.Lane, 0, len(b.logs))
	for lane := range b.logs {
		lanes = append(lanes, lane)
	}
	slices.SortFunc(lanes, func(x, y relay.Lane) int {
		if x.Topic != y.Topic {
			return cmpString(x.Topic, y.Topic)
		}
		return int(x.Index) - int(y.Index)
	})
	var all []Record
	for _, lane := range lanes {
		all = append(all, b.logs[lane]...)
	}
	return all
}

func cmpString(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// lanes returns how many lanes a topic has; 0 = it does not exist.
func (b *Broker) lanes(topic string) int {
	switch n := b.sizes[topic]; {
	case n > 0:
		return n
	case n < 0:
		return 0
	}
	return max(b.config.Lanes, 0)
}

// settleLate stores the batches whose bytes have arrived meanwhile.
func (b *Broker) settleLate() {
	now := time.Now()
	b.late = slices.DeleteFunc(b.late, func(l lateBatch) bool {
		if l.at.After(now) {
			return false
		}
		b.store(l.from, l.lane, l.batch, l.at)
		return true
	})
}

// store appends messages to a lane and returns the offset of the first; a batch that this publisher stored before gives its old offset.
func (b *Broker) store(from *Publisher, lane relay.Lane, batch []relay.Message, at time.Time) int64 {
	if len(batch) == 0 {
		return 0
	}
	name := batchName(batch)
	if b.config.Dedupes {
		if old, there := from.stored[lane][name]; there {
			return old
		}
	}
	first := int64(len(b.logs[lane]))
	for i := range batch {
		b.logs[lane] = append(b.logs[lane], Record{lane, first + int64(i), batch[i], from.name, from.epoch, at})
	}
	if from.stored[lane] == nil {
		from.stored[lane] = map[string]int64{}
	}
	from.stored[lane][name] = first
	return first
}

func batchName(batch []relay.Message) string {
	var name []byte
	for i := range batch {
		name = strconv.AppendInt(name, int64(batch[i].ID), 36)
		name = append(name, ' ')
	}
	return string(name)
}

func laneOf(m *relay.Message, lanes int) relay.Lane {
	if lanes == 0 {
		return relay.Lane{Topic: m.Target, Index: -1}
	}
	if m.Key == "" {
		return relay.Lane{Topic: m.Target, Index: int32(int64(m.ID) / 500 % int64(lanes))}
	}
	h := fnv.New32a()
	h.Write([]byte(m.Key))
	return relay.Lane{Topic: m.Target, Index: int32(h.Sum32() % uint32(lanes))}
}

func describe(lane relay.Lane, batch []*relay.Message) string {
	return fmt.Sprintf("lane %s, %d messages from %d", lane, len(batch), batch[0].ID)
}

// copyOf copies what a broker stores; what the engine keeps inside a message stays untouched, because the engine may be writing it.
func copyOf(m *relay.Message) relay.Message {
	return relay.Message{ID: m.ID, MessageID: m.MessageID, Topic: m.Topic, Key: m.Key, Type: m.Type, ContentType: m.ContentType, Traceparent: m.Traceparent,
		Tracestate: m.Tracestate, Headers: m.Headers, CreatedAt: m.CreatedAt, DeliverAfter: m.DeliverAfter, Payload: m.Payload, Size: m.Size,
		Tombstone: m.Tombstone, Target: m.Target}
}
