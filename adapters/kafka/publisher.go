package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/waybillmq/waybill/adapters/internal/calls"
	"github.com/waybillmq/waybill/relay"
)

const (
	resetPause = 250 * time.Millisecond // between two resets of the connection pool
	closeWait  = 2 * time.Second        // for the library to let go once its sockets are closed
	metaTTL    = 10 * time.Second       // the library's own refresh of the broker addresses
	idleConn   = 5 * time.Minute
)

// Publisher is a relay.Publisher for one Kafka cluster. All its methods may be called concurrently, Publish only for different lanes.
type Publisher struct {
	cfg  Config
	hash func(key string, n int32) int32

	dialer    *dialer
	control   *control
	transport *kafka.Transport
	bootstrap net.Addr
	compass   compass

	calls  *calls.Calls
	tasks  sync.WaitGroup // requests, watcher
	kicked chan struct{}

	pins    atomic.Pointer[map[string]*topic] // set by the first Open that succeeds, never changed
	cluster atomic.Pointer[string]
	base    session // of every lane at first; set before pins

	opening   chan struct{} // held by Open
	sendersMu sync.Mutex
	senders   map[int32]*sender
	resetMu   sync.Mutex
	resetAt   time.Time

	lapsed, unlisted, resets, tooLarge atomic.Uint64

	watchEvery, missingAfter, limitsEvery time.Duration // the constants, shorter in tests
}

var _ relay.Publisher = (*Publisher)(nil)

// New makes a publisher. It does no network: a cluster that is down is met by Open. The error is that of cfg.Validate.
func New(cfg Config) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Brokers = append([]string(nil), cfg.Brokers...)
	cfg.TLS = cfg.TLS.Clone()
	if cfg.Topics != nil {
		cfg.Topics = append(make([]string, 0, len(cfg.Topics)), cfg.Topics...)
	}
	p := &Publisher{
		cfg: cfg, calls: calls.New("kafka"), hash: cfg.Partitioner.hash(), bootstrap: kafka.TCP(cfg.Brokers...),
		kicked: make(chan struct{}, 1), opening: make(chan struct{}, 1), senders: map[int32]*sender{},
		watchEvery: watchEvery, missingAfter: missingAfter, limitsEvery: limitsEvery,
	}
	p.dialer = newDialer(cfg, p.ClusterID)
	p.control = newControl(p.dialer, cfg)
	p.compass = compass{p: p, turn: make(chan struct{}, 1), extra: map[string]struct{}{}}
	p.transport = &kafka.Transport{
		Dial: p.dialer.gated, DialTimeout: cfg.Timeouts.Connect, IdleTimeout: idleConn, MetadataTTL: metaTTL,
		MetadataTopics: []string{}, // none: it is only asked for the addresses of the brokers, the leaders we know ourselves
		ClientID:       cfg.ClientID,
	}
	return p, nil
}

// Capabilities are those of the configuration.
func (p *Publisher) Capabilities() relay.Capabilities { return p.cfg.Capabilities() }

// ClusterID is the id of the cluster that answered Open; empty before.
func (p *Publisher) ClusterID() string {
	if id := p.cluster.Load(); id != nil {
		return *id
	}
	return ""
}

// Counters of this publisher since it was made.
type Counters struct {
	SessionsLapsed uint64 // a lane took a fresh producer id: what was open may be stored twice
	UnlistedErrors uint64 // answers that the error map does not know
	Resets         uint64 // the connection pool was dropped
	TooLarge       uint64 // batches, or messages alone, that a broker found too large
}

// Counters may be called at any time.
func (p *Publisher) Counters() Counters {
	return Counters{SessionsLapsed: p.lapsed.Load(), UnlistedErrors: p.unlisted.Load(), Resets: p.resets.Load(), TooLarge: p.tooLarge.Load()}
}

// Open learns which cluster answers, its topics and leaders, and fetches the producer id. Kafka cannot be told the epoch: a new owner waits for the
// quarantine. The partition counts of the first Open that succeeds hold while the publisher lives.
func (p *Publisher) Open(ctx context.Context, _ relay.Epoch) error {
	ctx, done, err := p.calls.Enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	select {
	case p.opening <- struct{}{}:
		defer func() { <-p.opening }()
	case <-ctx.Done():
		return fmt.Errorf("%w: kafka: open: %w", relay.ErrUnavailable, ctx.Err())
	}
	select {
	case p.compass.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: kafka: open: %w", relay.ErrUnavailable, ctx.Err())
	}
	res, l, err := p.compass.learn(ctx)
	<-p.compass.turn
	if r := p.dialer.refusal(err); r != nil {
		return r.config()
	}
	if err != nil {
		return fmt.Errorf("%w: kafka: no broker of %v answered: %s", relay.ErrUnavailable, p.cfg.Brokers, reason(err))
	}
	if before := p.ClusterID(); before != "" && before != res.ClusterID {
		return &relay.ConfigError{Class: relay.ClassUnsafeBroker, Text: fmt.Sprintf(
			"kafka: the brokers %v answer as cluster %q, but this destination was opened on %q; check the addresses", p.cfg.Brokers, res.ClusterID, before)}
	}
	if p.pins.Load() == nil {
		if err := p.firstOpen(ctx, l); err != nil {
			return err
		}
	}
	p.cluster.Store(&res.ClusterID)
	return nil
}

// firstOpen makes the lanes; opening is held.
func (p *Publisher) firstOpen(ctx context.Context, l *layout) error {
	p.base = anonymous()
	if p.cfg.Idempotence {
		s, err := p.control.producerID(ctx)
		var code codeError
		switch r := p.dialer.refusal(err); {
		case r != nil:
			return r.config()
		case errors.As(err, &code) && rules[signal(code)].kind == relay.Config:
			r := rules[signal(code)]
			return &relay.ConfigError{Class: r.class, Text: fmt.Sprintf("kafka: the broker refuses a producer id: %s: %s", r.name, r.text)}
		case err != nil:
			return fmt.Errorf("%w: kafka: no producer id: %s", relay.ErrUnavailable, reason(err))
		}
		p.base = s
	}
	p.pin(l)
	p.learnLimits(ctx, slices.Sorted(maps.Keys(*p.pins.Load())))
	p.tasks.Add(1)
	go p.watch()
	return nil
}

// Publish sends batch to its partition with acks from all in-sync replicas. See relay.Publisher.
func (p *Publisher) Publish(ctx context.Context, at relay.Lane, batch []*relay.Message) []relay.Outcome {
	if len(batch) == 0 {
		panic("kafka: empty batch")
	}
	out := make([]relay.Outcome, len(batch))
	ctx, done, err := p.calls.Enter(ctx)
	if err != nil {
		o := relay.Outcome{Kind: relay.Unavailable, Class: relay.ClassUnreachable, Code: "kafka/closed", Detail: "the publisher was closed"}
		fill(out, o)
		o.Kind = relay.Unknown
		fill(out[:p.unsure(at, batch)], o)
		return out
	}
	defer done()
	pins := p.pins.Load()
	if pins == nil {
		fill(out, relay.Outcome{Kind: relay.Unavailable, Class: relay.ClassUnreachable, Code: "kafka/not_open", Detail: "the destination was not opened yet"})
		return out
	}
	if at.Index < 0 {
		fill(out, p.undelivered(ctx, at))
		return out
	}
	t := (*pins)[at.Topic]
	if t == nil || int(at.Index) >= len(t.lanes) {
		panic(fmt.Sprintf("kafka: foreign lane %v", at))
	}
	l := t.lanes[at.Index]
	t.used.Store(true)
	l.enter()
	defer l.leave()
	l.run(ctx, batch, out)
	return out
}

// unsure says how many messages at the head of batch may be stored by an earlier try, once the publisher is closed and nothing changes the lane any more.
func (p *Publisher) unsure(at relay.Lane, batch []*relay.Message) int {
	pins := p.pins.Load()
	if pins == nil || at.Index < 0 {
		return 0
	}
	t := (*pins)[at.Topic]
	if t == nil || int(at.Index) >= len(t.lanes) {
		return 0
	}
	l := t.lanes[at.Index]
	l.enter()
	defer l.leave()
	if l.open.unsure && l.open.leads(batch) {
		return len(l.open.ids)
	}
	return 0
}

func fill(out []relay.Outcome, o relay.Outcome) {
	for i := range out {
		out[i] = o
	}
}

// sender returns the sender of a leader, which lives as long as the publisher.
func (p *Publisher) sender(leader int32) *sender {
	p.sendersMu.Lock()
	defer p.sendersMu.Unlock()
	s := p.senders[leader]
	if s == nil {
		s = &sender{p: p, leader: leader}
		p.senders[leader] = s
	}
	return s
}

// act does what an answer asks of the publisher.
func (p *Publisher) act(do action) {
	if do&ask != 0 {
		p.compass.doubt()
	}
	if do&reset != 0 {
		p.reset()
	}
}

// reset drops the pooled connections, so that the next request starts with a pool that knows the cluster as it is: the library keeps what it knew, and its
// error, for seconds. Requests in flight finish on the old pool.
func (p *Publisher) reset() {
	p.resetMu.Lock()
	again := time.Since(p.resetAt) >= resetPause
	if again {
		p.resetAt = time.Now()
	}
	p.resetMu.Unlock()
	if again {
		p.resets.Add(1)
		p.transport.CloseIdleConnections()
	}
}

// Close refuses new calls, waits for the running ones until ctx ends, then closes the sockets; calls that still wait return Unknown. It returns an error
// when the library did not let go within two seconds after that.
func (p *Publisher) Close(ctx context.Context) error {
	if p.calls.Close(ctx, closeWait, p.cut, p.release) {
		return nil
	}
	return errors.New("kafka: close: the client library did not let go of its connections within 2 s")
}

func (p *Publisher) cut() {
	p.dialer.close()
	p.transport.CloseIdleConnections()
}

func (p *Publisher) release() {
	p.tasks.Wait()
	p.control.close()
}
