package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/calls"
	"github.com/waybillmq/waybill/adapters/internal/socket"
	"github.com/waybillmq/waybill/relay"
)

const (
	closeWait    = 2 * time.Second  // for the library to let go once its sockets are closed
	missingAfter = 60 * time.Second // how long a queue behind the default exchange may be missing before a person is told
	alarmGrace   = 500 * time.Millisecond
)

// Publisher is a relay.Publisher for one RabbitMQ cluster. All its methods may be called concurrently, Publish only for different lanes.
type Publisher struct {
	cfg Config
	via func(host string) string // where to connect instead, through a test's proxy; nil = there

	names socket.Names
	calls *calls.Calls
	tasks sync.WaitGroup

	hostsMu  sync.Mutex
	suspects map[string]time.Time // hosts that failed, until when they are tried last

	genMu   sync.Mutex // guards the three below
	gen     *generation
	dialing *dialing // in progress; nil = none
	cluster string   // of the first connection; empty before

	open    atomic.Bool
	lanesMu sync.Mutex
	lanes   map[relay.Lane]*lane
	used    map[string]bool                 // targets that something was sent to; true = a queue, through the default exchange
	queues  atomic.Pointer[map[string]bool] // exchanges whose only queue refuses when it is full, as the last Check saw them

	taken atomic.Int64 // largest payload that the server was seen to take; 0 = not tried, or doubted since; or tooSlow

	connections, reopened, returned, refusals, unlistedErrors atomic.Uint64

	missingAfter time.Duration // the constant, shorter in tests
	mostChannels int           // likewise
}

// dialing is one attempt to connect that several lanes wait for.
type dialing struct {
	done chan struct{}
	gen  *generation
	err  error
}

var _ relay.Publisher = (*Publisher)(nil)

// New makes a publisher. It does no network: a broker that is down is met by Open. The error is that of cfg.Validate.
func New(cfg Config) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Hosts = append([]string(nil), cfg.Hosts...)
	p := &Publisher{cfg: cfg, calls: calls.New("rabbitmq"), suspects: map[string]time.Time{}, lanes: map[relay.Lane]*lane{}, used: map[string]bool{},
		missingAfter: missingAfter, mostChannels: maxOpenChannels}
	return p, nil
}

// Capabilities are those of the configuration.
func (p *Publisher) Capabilities() relay.Capabilities { return p.cfg.Capabilities() }

// ClusterID is the cluster name that the first connection was told; empty before.
func (p *Publisher) ClusterID() string {
	p.genMu.Lock()
	defer p.genMu.Unlock()
	return p.cluster
}

// Counters of this publisher since it was made.
type Counters struct {
	Connections    uint64 // made
	Reopened       uint64 // channels given up because they only refused
	Returned       uint64 // messages without a queue
	Nacked         uint64 // messages refused by a queue
	UnlistedErrors uint64 // answers that the error map does not know
}

// Counters may be called at any time.
func (p *Publisher) Counters() Counters {
	return Counters{Connections: p.connections.Load(), Reopened: p.reopened.Load(), Returned: p.returned.Load(), Nacked: p.refusals.Load(),
		UnlistedErrors: p.unlistedErrors.Load()}
}

// Open connects and learns which cluster answers. RabbitMQ cannot be told the epoch: a new owner waits for the quarantine.
func (p *Publisher) Open(ctx context.Context, _ relay.Epoch) error {
	ctx, done, err := p.calls.Enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	if _, err := p.generation(ctx); err != nil {
		if c := configError(err); c != nil {
			return c
		}
		return fmt.Errorf("%w: rabbitmq: none of %v can be reached: %w", relay.ErrUnavailable, p.cfg.Hosts, err)
	}
	p.open.Store(true)
	return nil
}

// generation returns the living one, or makes the next; lanes that come meanwhile share the attempt. The attempt goes on when ctx ends.
func (p *Publisher) generation(ctx context.Context) (*generation, error) {
	p.genMu.Lock()
	if g := p.gen; g != nil && g.alive() {
		p.genMu.Unlock()
		return g, nil
	}
	d := p.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		p.dialing = d
		p.tasks.Go(func() { p.renew(d) })
	}
	p.genMu.Unlock()
	select {
	case <-d.done:
		return d.gen, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// renew connects for d. A cluster that is not the first one's is refused.
func (p *Publisher) renew(d *dialing) {
	g, err := p.connect(p.calls.Context(), p.cfg.Trust)
	p.genMu.Lock()
	if err == nil && p.cluster != "" && g.cluster != p.cluster {
		err = &signalError{sigOther, fmt.Sprintf("%q instead of %q", g.cluster, p.cluster)}
		g.end()
	}
	if err == nil {
		p.gen, p.cluster, d.gen = g, g.cluster, g
		p.connections.Add(1)
		if p.calls.Context().Err() != nil { // closed meanwhile
			g.end()
		}
	}
	d.err = err
	p.dialing = nil
	p.genMu.Unlock()
	close(d.done)
}

// Publish sends batch through the lane's channel and waits for the confirms. See relay.Publisher.
func (p *Publisher) Publish(ctx context.Context, at relay.Lane, batch []*relay.Message) []relay.Outcome {
	if len(batch) == 0 {
		panic("rabbitmq: empty batch")
	}
	if at.Index < 0 || int(at.Index) >= p.cfg.Channels {
		panic(fmt.Sprintf("rabbitmq: foreign lane %v", at))
	}
	out := make([]relay.Outcome, len(batch))
	ctx, done, err := p.calls.Enter(ctx)
	if err != nil {
		return p.closedOut(at, batch, out)
	}
	defer done()
	if !p.open.Load() {
		fill(out, outcome(sigNotOpen, at.Topic, ""))
		return out
	}
	exchange, _ := address(batch[0])
	l := p.laneOf(at, exchange == "")
	l.enter()
	defer l.leave()
	l.run(ctx, batch, out)
	return out
}

// closedOut answers a batch after Close: what an earlier call sent and nobody confirmed may be stored.
func (p *Publisher) closedOut(at relay.Lane, batch []*relay.Message, out []relay.Outcome) []relay.Outcome {
	fill(out, outcome(sigClosed, at.Topic, ""))
	exchange, _ := address(batch[0])
	l := p.laneOf(at, exchange == "")
	l.enter()
	defer l.leave()
	for i, m := range batch {
		if l.ch != nil && l.ch.sent[m.ID] != nil {
			out[i] = outcome(sigCut, at.Topic, "")
		}
	}
	return out
}

func fill(out []relay.Outcome, o relay.Outcome) {
	for i := range out {
		out[i] = o
	}
}

func (p *Publisher) laneOf(at relay.Lane, byDefault bool) *lane {
	p.lanesMu.Lock()
	defer p.lanesMu.Unlock()
	l := p.lanes[at]
	if l == nil {
		l = &lane{p: p, at: at}
		p.lanes[at] = l
		p.used[at.Topic] = byDefault
	}
	return l
}

// Close refuses new calls, waits for the running ones until ctx ends, then closes the sockets; calls that still wait return Unknown. It returns an error when
// the library did not let go within two seconds after that.
func (p *Publisher) Close(ctx context.Context) error {
	if p.calls.Close(ctx, closeWait, p.cut, p.tasks.Wait) {
		return nil
	}
	return errors.New("rabbitmq: close: the client library did not let go of its connection within 2 s")
}

// cut ends the connection, which the library can hang on; one that is made meanwhile is ended by renew.
func (p *Publisher) cut() {
	p.genMu.Lock()
	g := p.gen
	p.genMu.Unlock()
	if g != nil {
		g.end()
	}
}
