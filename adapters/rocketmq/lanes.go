package rocketmq

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

const (
	askPause     = 250 * time.Millisecond // between two questions for one route, however many lanes want to know
	missingAfter = time.Minute            // a topic that is missing for longer is a matter for a person
	watchEvery   = 30 * time.Second
	limitsEvery  = 10 * time.Minute

	provisional  = -1      // index of the lane of a topic that the name servers do not know
	defaultLimit = 4 << 20 // maxMessageSize of a broker that was never told otherwise
)

// topic is a topic whose queues are pinned while the publisher lives, so that keys stay where they are.
type topic struct {
	name  string // at the broker
	lanes []*lane
	limit atomic.Int64 // maxMessageSize, the smallest of its brokers
	used  atomic.Bool  // something was presented for it
}

// pinned says whether a queue is a lane.
func (t *topic) pinned(q queue) bool {
	return t != nil && slices.ContainsFunc(t.lanes, func(l *lane) bool { return l.queue == q })
}

// pin makes the lanes of the topics that have queues to write to.
func (p *Publisher) pin(routes map[string]*route) {
	pins := make(map[string]*topic, len(routes))
	for name, r := range routes {
		queues := r.queues(permWrite)
		if len(queues) == 0 {
			continue
		}
		t := &topic{name: name, lanes: make([]*lane, len(queues))}
		t.limit.Store(defaultLimit)
		for i, q := range queues {
			t.lanes[i] = &lane{p: p, topic: t, at: relay.Lane{Topic: name, Index: int32(i)}, queue: q}
		}
		pins[name] = t
	}
	p.pins.Store(&pins)
}

// Lane names the queue of a message. A topic that the name servers did not know when the publisher was opened has one provisional lane, -1, for as long as
// this publisher lives.
func (p *Publisher) Lane(m *relay.Message) relay.Lane {
	name := m.Target
	var t *topic
	if pins := p.pins.Load(); pins != nil {
		t = (*pins)[name]
	}
	if t == nil {
		return relay.Lane{Topic: name, Index: provisional}
	}
	n := int32(len(t.lanes))
	if m.Key == "" {
		return relay.Lane{Topic: name, Index: record.Keyless(m.ID, n)}
	}
	return relay.Lane{Topic: name, Index: p.hash(m.Key, n)}
}

// routes remembers what the name servers said last of topics that something is wrong with.
type routes struct {
	mu    sync.Mutex // guards known
	known map[string]*known
}

// known is the last answer about one topic. turn is held while it is asked for, and guards the rest.
type known struct {
	turn    chan struct{}
	asked   time.Time
	route   *route // nil: no name server knows it
	err     error
	missing time.Time // since when; zero = it is there
}

func (r *routes) of(topic string) *known {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.known[topic]
	if k == nil {
		k = &known{turn: make(chan struct{}, 1)}
		r.known[topic] = k
	}
	return k
}

func (r *routes) topics() (names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.known {
		names = append(names, name)
	}
	return names
}

// find asks for a topic, unless somebody just did.
func (p *Publisher) find(ctx context.Context, topic string) (r *route, missing time.Time, err error) {
	k := p.routes.of(topic)
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
	if time.Since(k.asked) >= askPause {
		k.route, k.err = all(ctx, p.probe, func(l *link) (*route, error) { return l.route(ctx, topic) }, mergeRoutes)
		k.asked = time.Now()
		switch {
		case k.err != nil: // an outage says nothing about the topic
		case k.route != nil:
			k.missing = time.Time{}
		case k.missing.IsZero():
			k.missing = k.asked
		}
	}
	return k.route, k.missing, k.err
}

// whyNoRoute finds out what it means that the library knows no way to a queue.
func (p *Publisher) whyNoRoute(ctx context.Context, cl *client, l *lane, a answer) answer {
	r, missing, err := p.find(ctx, l.at.Topic)
	switch {
	case err != nil:
		a.detail = reason(err)
	case r == nil:
		return p.absent(ctx, missing, l.topic.brokers())
	case r.master(l.queue.broker) != "" && slices.Contains(r.queues(permWrite), l.queue):
		p.renew(cl, staleAge) // it is there: what the library knows is old, and it asks every 30 s only
		a.detail = "it has just come back"
	}
	return a
}

// absent judges a topic that no name server knows: while its brokers are away that says nothing.
func (p *Publisher) absent(ctx context.Context, since time.Time, brokers []string) answer {
	if time.Since(since) < p.missingAfter {
		return answer{sig: sigNoTopic}
	}
	found, err := p.probe.brokers(ctx)
	if err != nil {
		return answer{sig: sigNoTopic, detail: reason(err)}
	}
	masters := found.masters(p.clusterName())
	if len(masters) == 0 || slices.ContainsFunc(brokers, func(b string) bool { return !slices.Contains(masters, b) }) {
		return answer{sig: sigNoTopic, detail: "its brokers are away"}
	}
	return answer{sig: sigGone}
}

// brokers are those that had queues of the topic.
func (t *topic) brokers() (names []string) {
	for _, l := range t.lanes {
		names = append(names, l.queue.broker)
	}
	return slices.Compact(names)
}

// masters are the names of the brokers of a cluster that have a master now, sorted.
func (c *cluster) masters(name string) (all []string) {
	for broker, b := range c.Brokers {
		if b.Cluster == name && b.master() != "" {
			all = append(all, broker)
		}
	}
	slices.Sort(all)
	return all
}

// undelivered is the outcome of a provisional lane: nothing is sent there.
func (p *Publisher) undelivered(ctx context.Context, at relay.Lane) relay.Outcome {
	if why := illegalName(at.Topic, maxTopic); why != "" {
		o := rules[sigGone].outcome(sigGone, at.Topic, why)
		o.Class = relay.ClassInvalid
		return o
	}
	r, missing, err := p.find(ctx, at.Topic)
	var a answer
	switch {
	case err != nil:
		a = answer{sig: sigNoTopic, detail: reason(err)}
	case r == nil:
		a = p.absent(ctx, missing, nil)
	case len(r.queues(permWrite)) == 0:
		a = answer{sig: 16}
	default:
		p.kick() // it appeared: the watcher tells
		a = answer{sig: sigNoTopic, detail: "it has just appeared; its lanes are being made"}
	}
	o := rules[a.sig].outcome(a.sig, at.Topic, a.detail)
	if o.Kind == relay.Unavailable {
		o.Scope = relay.ScopeTopic
	}
	return o
}

// watch compares the cluster with the pinned lanes every 30 s, or at once when it is kicked, until the publisher is closed. It also looks for other name server
// addresses and other credentials.
func (p *Publisher) watch() {
	defer p.tasks.Done()
	tick := time.NewTicker(p.watchEvery)
	defer tick.Stop()
	told := map[string]string{}
	limits := time.Now()
	for {
		select {
		case <-p.calls.Context().Done():
			return
		case <-tick.C:
		case <-p.kicked:
		}
		p.freshen(p.calls.Context())
		p.compare(p.calls.Context(), told)
		if time.Since(limits) >= limitsEvery {
			limits = time.Now()
			p.learnLimits(p.calls.Context())
		}
	}
}

// compare tells of every topic that has queues which are no lanes, or whose broker is there without a queue that is one; once per list of queues. A broker that is
// away changes nothing: its queues come back.
func (p *Publisher) compare(ctx context.Context, told map[string]string) {
	pins := *p.pins.Load()
	names := p.routes.topics()
	for name := range pins {
		names = append(names, name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	found, err := all(ctx, p.probe, func(l *link) (map[string]*route, error) { return l.routes(ctx, names) }, mergeTopics)
	if err != nil {
		return // an outage is told by the batches
	}
	for _, name := range names {
		r := found[name]
		if r == nil || !r.changed(pins[name]) {
			continue
		}
		if text := queuesText(r); told[name] != text {
			told[name] = text
			if p.cfg.OnLanesChanged != nil {
				p.cfg.OnLanesChanged(name)
			}
		}
	}
}

// changed says whether keys would move if the lanes were made now.
func (r *route) changed(t *topic) bool {
	now := r.queues(permWrite)
	if slices.ContainsFunc(now, func(q queue) bool { return !t.pinned(q) }) {
		return true
	}
	return t != nil && slices.ContainsFunc(t.lanes, func(l *lane) bool { return r.master(l.queue.broker) != "" && !slices.Contains(now, l.queue) })
}

func queuesText(r *route) string {
	var b strings.Builder
	for _, q := range r.queues(permWrite) {
		b.WriteString(q.broker)
		b.WriteByte(byte('0' + q.id%10))
	}
	return b.String()
}

func (p *Publisher) kick() {
	select {
	case p.kicked <- struct{}{}:
	default:
	}
}
