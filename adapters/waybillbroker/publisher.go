package waybillbroker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/relay"
)

// Publisher is a relay.Publisher for the bundled broker, and a relay.Exact. All its methods may be called concurrently, Publish only for different lanes.
type Publisher struct {
	cfg       Config
	sources   []source // set by Source, before Open
	sourceErr error

	owed owed // what is stored and not settled

	mu     sync.Mutex
	epoch  uint64 // 0 = not open
	topics map[string]*topic
	closed bool

	running sync.WaitGroup
	ctx     context.Context // ends when Close stops waiting
	cut     context.CancelFunc
}

var _ relay.Exact = (*Publisher)(nil)

// New makes a publisher, which has yet to be told its source. The error is that of cfg.Validate.
func New(cfg Config) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Publisher{cfg: cfg, topics: map[string]*topic{}, owed: owed{in: map[relay.ID]ledgers{}}}
	p.ctx, p.cut = context.WithCancel(context.Background())
	return p, nil
}

// Source implements relay.Exact.
func (p *Publisher) Source(generations []relay.Generation) {
	p.sources, p.sourceErr = sourcesOf(generations)
}

// Open fences every older owner of the outbox, for each generation of its ids.
func (p *Publisher) Open(ctx context.Context, epoch relay.Epoch) error {
	if p.sourceErr != nil {
		return &relay.ConfigError{Class: relay.ClassInternal, Text: p.sourceErr.Error()}
	}
	ctx, done, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := p.cfg.Broker.Ready(ctx); err != nil {
		return fmt.Errorf("the bundled broker is not up: %w: %w", relay.ErrUnavailable, err)
	}
	for _, s := range p.sources {
		switch err := p.cfg.Broker.Fence(ctx, s.id, uint64(epoch)); {
		case errors.Is(err, broker.ErrFenced):
			return relay.ErrFenced
		case err != nil:
			return fmt.Errorf("announce the owner to the bundled broker: %w: %w", relay.ErrUnavailable, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch = uint64(epoch)
	return nil
}

// enter counts a call; its context ends with Close too.
func (p *Publisher) enter(ctx context.Context) (context.Context, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, relay.ErrClosed
	}
	p.running.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(p.ctx, cancel)
	return ctx, func() { stop(); cancel(); p.running.Done() }, nil
}

// Lane implements relay.Publisher: keys by murmur2, as Kafka's clients do; the number of partitions holds while the publisher lives.
func (p *Publisher) Lane(m *relay.Message) relay.Lane {
	t := p.topic(m.Target)
	switch {
	case t == nil:
		return relay.Lane{Topic: m.Target, Index: -1}
	case m.Key == "":
		return relay.Lane{Topic: m.Target, Index: record.Keyless(m.ID, int32(len(t.parts)))}
	}
	return relay.Lane{Topic: m.Target, Index: int32(record.Murmur2(m.Key)&0x7fffffff) % int32(len(t.parts))}
}

// topic is what is known of a topic; nil when the broker has none of this name.
func (p *Publisher) topic(name string) *topic {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.topics[name]; t != nil {
		return t
	}
	known, ok := p.cfg.Broker.Topic(name)
	if !ok {
		return nil
	}
	t := &topic{name: name, found: map[relay.ID]place{}}
	for i := range known.Partitions {
		part := &partition{topic: t, index: int32(i), seq: make([]uint64, len(p.sources))}
		for range p.sources {
			part.ledger = append(part.ledger, newLedger())
		}
		t.parts = append(t.parts, part)
	}
	p.topics[name] = t
	return t
}

// Publish implements relay.Publisher.
func (p *Publisher) Publish(ctx context.Context, lane relay.Lane, batch []*relay.Message) []relay.Outcome {
	out := make([]relay.Outcome, len(batch))
	ctx, done, err := p.enter(ctx)
	if err != nil {
		return fill(out, relay.Outcome{Kind: relay.Unavailable, Class: relay.ClassUnreachable, Detail: "the publisher is closed"})
	}
	defer done()
	p.mu.Lock()
	epoch := p.epoch
	p.mu.Unlock()
	if lane.Index < 0 {
		return fill(out, p.missing(lane.Topic))
	}
	t := p.topic(lane.Topic)
	if err := p.remember(ctx, t, epoch); err != nil {
		o := refusal(err, lane)
		if o.Kind == relay.Unknown { // nothing was sent yet
			o.Kind, o.Scope = relay.Unavailable, relay.ScopeTopic
		}
		return fill(out, o)
	}
	known, ok := p.cfg.Broker.Topic(lane.Topic) // asked each time: its limit may change
	if !ok {
		return fill(out, p.missing(lane.Topic))
	}
	c := call{p: p, part: t.parts[lane.Index], lane: lane, epoch: epoch, largest: Largest(known), batch: batch, wire: make([]*relay.Message, len(batch)), out: out}
	c.run(ctx)
	return out
}

// missing is the outcome for a topic that does not exist, or did not when its lane was named.
func (p *Publisher) missing(name string) relay.Outcome {
	if _, ok := p.cfg.Broker.Topic(name); ok {
		if p.cfg.LanesChanged != nil {
			p.cfg.LanesChanged()
		}
		return relay.Outcome{Kind: relay.Unavailable, Scope: relay.ScopeLane, Alive: true, Class: relay.ClassUnknownTopic, Detail: fmt.Sprintf("topic %q exists by now", name)}
	}
	return relay.Outcome{Kind: relay.Config, Scope: relay.ScopeTopic, Class: relay.ClassUnknownTopic, Code: "waybill/UNKNOWN_TOPIC",
		Detail: fmt.Sprintf("the bundled broker has no topic %q; add it to broker.topics.create", name)}
}

func fill(out []relay.Outcome, o relay.Outcome) []relay.Outcome {
	for i := range out {
		out[i] = o
	}
	return out
}

// ClusterID is the uuid of the broker's cluster.
func (p *Publisher) ClusterID() string { return p.cfg.Broker.Cluster() }

// Settled implements relay.Exact.
func (p *Publisher) Settled(ids []relay.ID) {
	for _, id := range ids {
		l := p.owed.settled(id)
		if l.first == nil {
			continue // of another destination
		}
		l.first.settled(p.sources, id)
		for _, part := range l.more {
			part.settled(p.sources, id)
		}
	}
}

// settled raises the floor by what is marked sent.
func (part *partition) settled(sources []source, id relay.ID) {
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.ledger[of(sources, id)].settle(id) {
		part.topic.mu.Lock()
		delete(part.topic.found, id)
		part.topic.mu.Unlock()
	}
}

// Check implements relay.Publisher.
func (p *Publisher) Check(ctx context.Context) (relay.Findings, error) {
	ctx, done, err := p.enter(ctx)
	if err != nil {
		return relay.Findings{}, err
	}
	defer done()
	if err := p.cfg.Broker.Ready(ctx); err != nil {
		return relay.Findings{}, fmt.Errorf("the bundled broker is not up: %w: %w", relay.ErrUnavailable, err)
	}
	f := relay.Findings{Cluster: p.cfg.Broker.Cluster(), Limits: map[string]int{}, Items: []relay.Finding{{ID: "waybill.sync", Level: relay.LevelOK,
		Subject: "bundled broker", Text: "every record is synced before it is acknowledged"}}}
	for _, t := range p.cfg.Broker.Topics() {
		f.Limits[t.Name] = Largest(t)
	}
	return f, nil
}

// Close implements relay.Publisher.
func (p *Publisher) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	idle := make(chan struct{})
	go func() { p.running.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
		p.cut()
		<-idle
	}
	p.cut()
	return nil
}

// batchSpare is room for the head of a batch and the headers that are ours.
const batchSpare = 2048

// Largest is the most bytes of payload, key and headers that one message of a topic may have: a batch of one.
func Largest(t broker.Topic) int {
	if t.MaxBatch <= 0 { // not told: to refuse everything for good would be the worst guess
		return broker.MaxMessage - batchSpare
	}
	return max(t.MaxBatch-batchSpare, 0)
}
