package relaytest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// OpOpen, OpCheck and OpPublish are the operations of a publisher. An error injected into Publish means: unknown, and nothing stored; a lost one: stored.
const (
	OpOpen    Op = "Open"
	OpCheck   Op = "Check"
	OpPublish Op = "Publish"
)

// Publisher is a relay.Publisher of a Broker: the client of one relay. Its faults are its own, as on a network of its own. It panics when the engine breaks the
// contract: two batches at once in a lane, an empty or mixed batch, a key out of order, a payload that was not fetched, Publish before Open.
type Publisher struct {
	Faults

	name   string
	broker *Broker

	// guarded by broker.mu
	epoch   relay.Epoch
	opened  bool
	busy    map[relay.Lane]bool
	stored  map[relay.Lane]map[string]int64 // batches stored by this client
	sizes   map[string]int                  // pinned number of lanes
	running sync.WaitGroup
	closing chan struct{} // closed by Close: no new calls
	cut     chan struct{} // closed at the end of Close: waiting calls are cut
}

var _ relay.Publisher = (*Publisher)(nil)

// Publisher returns a client of the broker.
func (b *Broker) Publisher(name string) *Publisher {
	b.set(func() { b.clients++ })
	return &Publisher{name: name, broker: b, busy: map[relay.Lane]bool{}, stored: map[relay.Lane]map[string]int64{}, sizes: map[string]int{},
		closing: make(chan struct{}), cut: make(chan struct{})}
}

// Capabilities tells what this broker can do.
func (b *Broker) Capabilities() relay.Capabilities {
	return relay.Capabilities{Atomic: true, Dedupes: b.config.Dedupes, Fences: b.config.Fences, Positions: !b.config.NoOffsets, Tombstone: true,
		MaxBatch: b.config.MaxBatch, MaxBytes: b.config.MaxBytes}
}

// Open implements relay.Publisher.
func (p *Publisher) Open(ctx context.Context, epoch relay.Epoch) error {
	lost, err := p.enter(ctx, OpOpen)
	if err != nil {
		return err
	}
	b := p.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case p.isClosed():
		return relay.ErrClosed
	case b.down:
		return fmt.Errorf("open %s: %w", p.name, relay.ErrUnavailable)
	case b.config.Fences && epoch < b.epoch:
		return relay.ErrFenced
	}
	b.epoch = max(b.epoch, epoch)
	b.opens++
	p.epoch, p.opened = epoch, true
	clear(p.sizes)
	return lost
}

func (p *Publisher) isClosed() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

// Lane implements relay.Publisher: keys by hash, messages without a key in runs of 500 ids.
func (p *Publisher) Lane(m *relay.Message) relay.Lane {
	if m.Target == "" {
		broken("Lane of message " + m.ID.String() + " without a target topic")
	}
	p.broker.mu.Lock()
	defer p.broker.mu.Unlock()
	return p.lane(m)
}

func (p *Publisher) lane(m *relay.Message) relay.Lane {
	n, pinned := p.sizes[m.Target]
	if !pinned {
		n = p.broker.lanes(m.Target)
		p.sizes[m.Target] = n
	}
	return laneOf(m, n)
}

// Publish implements relay.Publisher.
func (p *Publisher) Publish(ctx context.Context, lane relay.Lane, batch []*relay.Message) []relay.Outcome {
	b := p.broker
	b.mu.Lock()
	p.check(lane, batch)
	if p.isClosed() {
		b.mu.Unlock()
		o := Unreachable
		o.Detail = "the publisher is closed"
		return slices.Repeat([]relay.Outcome{o}, len(batch))
	}
	p.busy[lane] = true
	p.running.Add(1)
	b.onLane[lane]++
	call := Call{Publisher: p.name, Epoch: p.epoch, Lane: lane, N: len(b.calls) + 1, LaneN: b.onLane[lane], At: time.Now()}
	for _, m := range batch {
		call.IDs = append(call.IDs, m.ID)
	}
	b.calls = append(b.calls, call)
	call.Batch = batch
	answer := b.choose(call)
	gate := b.allGo
	if gate == nil {
		gate = b.hole[lane]
	}
	b.mu.Unlock()

	outcomes := p.answer(ctx, lane, batch, answer, gate)

	b.mu.Lock()
	defer b.mu.Unlock()
	p.busy[lane] = false
	p.running.Done()
	b.calls[call.N-1].Outcomes, b.calls[call.N-1].Took = slices.Clone(outcomes), time.Since(call.At)
	return outcomes
}

// check stops the test when the engine breaks the contract.
func (p *Publisher) check(lane relay.Lane, batch []*relay.Message) {
	config := p.broker.config
	switch {
	case !p.opened:
		broken("Publish before Open")
	case len(batch) == 0:
		broken("an empty batch on lane " + lane.String())
	case p.busy[lane]:
		broken("two batches at once: " + describe(lane, batch))
	case len(batch) > config.MaxBatch:
		broken(fmt.Sprintf("%s: more than MaxBatch (%d)", describe(lane, batch), config.MaxBatch))
	}
	last, bytes := map[relay.Key]relay.ID{}, 0
	for _, m := range batch {
		key, ordered := m.OrderKey()
		ordered = ordered && m.DeliverAfter.IsZero() && !config.People // a scheduled message takes its place when it falls due
		switch {
		case m.Target == "":
			broken(fmt.Sprintf("message %d has no target topic", m.ID))
		case p.lane(m) != lane:
			broken(fmt.Sprintf("message %d belongs on lane %s, not on %s", m.ID, p.lane(m), lane))
		case m.NeedsFetch():
			broken(fmt.Sprintf("message %d was not fetched", m.ID))
		case ordered && last[key] >= m.ID:
			broken(fmt.Sprintf("message %d comes behind %d of its key", m.ID, last[key]))
		}
		if ordered {
			last[key] = m.ID
		}
		bytes += m.Weight()
	}
	if len(batch) > 1 && bytes > config.MaxBytes {
		broken(fmt.Sprintf("%s: %d bytes, more than MaxBytes (%d)", describe(lane, batch), bytes, config.MaxBytes))
	}
}

// choose picks the answer of a call: the queue, the script, else what the broker's state gives.
func (b *Broker) choose(call Call) Answer {
	if len(b.queue) > 0 {
		next := b.queue[0]
		b.queue = b.queue[1:]
		if next.set {
			return next
		}
	} else if b.script != nil {
		if a := b.script(call); a.set {
			return a
		}
	}
	switch {
	case b.down:
		return Refuse(Unreachable)
	case b.dead[call.Lane]:
		return Refuse(LaneGone)
	case call.Lane.Index < 0:
		return Refuse(NoTopic)
	case b.poison != nil:
		return b.sift(call.Batch).After(b.delay)
	}
	return Ack().After(b.delay)
}

// sift rejects the poisoned messages and holds back those of their keys behind them.
func (b *Broker) sift(batch []*relay.Message) Answer {
	outcomes, stopped := make([]relay.Outcome, len(batch)), map[relay.Key]bool{}
	for i, m := range batch {
		key, ordered := m.OrderKey()
		switch {
		case ordered && stopped[key]:
			outcomes[i] = BehindIt
		case b.poison(m):
			outcomes[i], stopped[key] = Poisoned, true
		default:
			outcomes[i].Kind = relay.Acked
		}
	}
	return Each(func(i int, _ *relay.Message) relay.Outcome { return outcomes[i] })
}

// answer plays one answer: it waits without the lock, stores, and tells.
func (p *Publisher) answer(ctx context.Context, lane relay.Lane, batch []*relay.Message, a Answer, gate chan struct{}) []relay.Outcome {
	ended := func() []relay.Outcome { return slices.Repeat([]relay.Outcome{cut}, len(batch)) }
	if a.hang {
		gate = make(chan struct{}) // nobody closes it
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ended()
		case <-p.cut:
			return ended()
		}
	}
	if a.wait > 0 {
		t := time.NewTimer(a.wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ended()
		case <-p.cut:
			return ended()
		}
	}
	if ctx.Err() != nil {
		return ended()
	}
	if lost, err := p.enter(ctx, OpPublish); err != nil {
		return ended()
	} else if lost != nil {
		a.lost = true
	}
	return p.finish(lane, batch, a)
}

// finish stores what is to be stored and makes the outcomes.
func (p *Publisher) finish(lane relay.Lane, batch []*relay.Message, a Answer) []relay.Outcome {
	b := p.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settleLate()
	if b.config.Fences && p.epoch < b.epoch {
		o := Unreachable
		o.Scope, o.Fenced, o.Code, o.Detail = relay.ScopeLane, true, "test/FENCED", "a newer owner has announced itself"
		return slices.Repeat([]relay.Outcome{o}, len(batch))
	}
	outcomes := make([]relay.Outcome, len(batch))
	var keep []relay.Message
	for i, m := range batch {
		outcomes[i] = a.outcome(i, m)
		if outcomes[i].Kind == relay.Acked || a.lost {
			keep = append(keep, copyOf(m))
		}
	}
	if a.late > 0 {
		b.late = append(b.late, lateBatch{time.Now().Add(a.late), p, lane, keep})
		return outcomes
	}
	at := b.store(p, lane, keep, time.Now())
	for i := range outcomes {
		if a.lost {
			if outcomes[i].Kind == relay.Acked {
				outcomes[i] = cut
			}
			continue
		}
		if outcomes[i].Kind == relay.Acked && !b.config.NoOffsets {
			outcomes[i].At = relay.Position{Offset: at, HasOffset: true}
			at++
		}
	}
	return outcomes
}

// Check implements relay.Publisher.
func (p *Publisher) Check(ctx context.Context) (relay.Findings, error) {
	lost, err := p.enter(ctx, OpCheck)
	if err != nil {
		return relay.Findings{}, err
	}
	b := p.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if p.isClosed() {
		return relay.Findings{}, relay.ErrClosed
	}
	if b.down {
		return relay.Findings{}, fmt.Errorf("check %s: %w", p.name, relay.ErrUnavailable)
	}
	if lost != nil {
		return relay.Findings{}, lost
	}
	return relay.Findings{Cluster: "memory", Items: []relay.Finding{{ID: "memory.reachable", Level: relay.LevelOK, Subject: p.name, Text: "answers"}}}, nil
}

// Close implements relay.Publisher.
func (p *Publisher) Close(ctx context.Context) error {
	b := p.broker
	b.set(func() {
		if !p.isClosed() {
			b.clients--
			close(p.closing)
		}
	})
	idle := make(chan struct{})
	go func() {
		p.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		b.set(func() {
			select {
			case <-p.cut:
			default:
				close(p.cut)
			}
		})
		<-idle
	}
	return nil
}
