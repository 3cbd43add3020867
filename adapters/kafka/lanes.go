package kafka

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

const (
	refreshPause = 50 * time.Millisecond // between two questions for the leaders, however many lanes want to know
	missingAfter = time.Minute           // a topic that is missing for longer is a matter for a person
	watchEvery   = 30 * time.Second
	limitsEvery  = 10 * time.Minute
	limitsPause  = time.Second // between two questions about limits that were met

	provisional  = -1        // index of the lane of a topic that the broker does not know
	defaultLimit = 1_048_588 // max.message.bytes of a broker that was never told otherwise
	batchSpare   = 1 << 10   // left free under the limit by batches of two and more
)

// topic is a topic whose number of partitions is pinned while the publisher lives, so that keys stay where they are.
type topic struct {
	name  string
	lanes []*lane
	limit atomic.Int64 // max.message.bytes
	doubt atomic.Bool  // the broker found a batch too large: the limit may be another one now
	used  atomic.Bool  // something was presented for it
}

// layout is what the cluster said last. It is immutable.
type layout struct {
	turn   uint64 // how many answers came before
	topics map[string]topicLayout
}

type topicLayout struct {
	code    int16     // error code of the topic
	leaders []int32   // by partition; noLeader, absent
	missing time.Time // since when the broker does not know it; zero = it does
}

const (
	noLeader = -1
	absent   = -2
)

// next makes the layout out of an answer that speaks of all topics in want; what was missing before stays missing since then.
func (l *layout) next(res *metadata.Response, want []string, now time.Time) *layout {
	n := &layout{topics: make(map[string]topicLayout, len(res.Topics))}
	if l != nil {
		n.turn = l.turn + 1
	}
	for i := range res.Topics {
		if t := &res.Topics[i]; !t.IsInternal {
			n.topics[t.Name] = topicLayout{code: t.ErrorCode, leaders: leaders(t.Partitions)}
		}
	}
	for _, name := range want {
		if _, ok := n.topics[name]; !ok {
			n.topics[name] = topicLayout{code: 3}
		}
	}
	for name, t := range n.topics {
		if t.code != 3 {
			continue
		}
		t.missing = now
		if l != nil {
			if before := l.topics[name].missing; !before.IsZero() {
				t.missing = before
			}
		}
		n.topics[name] = t
	}
	return n
}

func leaders(parts []metadata.ResponsePartition) []int32 {
	most := int32(-1)
	for i := range parts {
		most = max(most, parts[i].PartitionIndex)
	}
	if most < 0 || int(most) > 10*len(parts)+1000 { // an answer that no broker gives
		return nil
	}
	list := make([]int32, most+1)
	for i := range list {
		list[i] = absent
	}
	for i := range parts {
		if p := &parts[i]; p.PartitionIndex >= 0 {
			list[p.PartitionIndex] = max(p.LeaderID, noLeader)
		}
	}
	return list
}

// leader finds a partition's leader; signal 0 = found.
func (l *layout) leader(at relay.Lane, now time.Time, patience time.Duration) (int32, signal) {
	t, ok := l.topics[at.Topic]
	switch {
	case !ok:
		return 0, sigNoTopic
	case t.code == 3 && now.Sub(t.missing) >= patience:
		return 0, sigGone
	case t.code == 3:
		return 0, sigNoTopic
	case t.code == 5:
		return 0, sigNoLeader
	case t.code != 0:
		return 0, signal(t.code)
	case int(at.Index) >= len(t.leaders) || at.Index < 0 || t.leaders[at.Index] == absent:
		return 0, sigNoPart
	case t.leaders[at.Index] == noLeader:
		return 0, sigNoLeader
	}
	return t.leaders[at.Index], 0
}

// count is the number of partitions, 0 when the topic is not known or in error.
func (l *layout) count(name string) int {
	if t := l.topics[name]; t.code == 0 {
		return len(t.leaders)
	}
	return 0
}

// compass keeps the layout and asks for it again when somebody met its errors. turn serialises the questions.
type compass struct {
	p    *Publisher
	turn chan struct{}
	last time.Time // of the last question; guarded by turn

	now  atomic.Pointer[layout]
	want atomic.Uint64 // the lowest turn that is good enough

	mu    sync.Mutex
	extra map[string]struct{} // topics of provisional lanes, which are asked for by name
}

// doubt says that the layout proved wrong: the next who needs a leader asks again.
func (c *compass) doubt() {
	if l := c.now.Load(); l != nil {
		c.want.Store(l.turn + 1)
	}
}

// names are the topics to ask for; nil = all. known are those the answer must speak of.
func (c *compass) names() (ask, known []string) {
	c.mu.Lock()
	for t := range c.extra {
		known = append(known, t)
	}
	c.mu.Unlock()
	if pins := c.p.pins.Load(); pins != nil {
		for t := range *pins {
			known = append(known, t)
		}
	}
	known = append(known, c.p.cfg.Topics...)
	slices.Sort(known)
	known = slices.Compact(known)
	if c.p.cfg.Topics == nil {
		return nil, known
	}
	return known, known
}

// layout returns a layout that nobody doubts, asking the cluster if need be.
func (c *compass) layout(ctx context.Context) (*layout, error) {
	if l := c.now.Load(); l != nil && l.turn >= c.want.Load() {
		return l, nil
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l := c.now.Load(); l != nil && l.turn >= c.want.Load() {
		return l, nil
	}
	if wait := refreshPause - time.Since(c.last); wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	_, l, err := c.learn(ctx)
	return l, err
}

// learn asks the cluster; turn is held.
func (c *compass) learn(ctx context.Context) (*metadata.Response, *layout, error) {
	c.last = time.Now()
	ask, known := c.names()
	res, err := c.p.control.metadata(ctx, ask)
	if err != nil {
		return nil, nil, err
	}
	if ask == nil {
		if err := c.askForAbsent(ctx, res, known); err != nil {
			return nil, nil, err
		}
	}
	l := c.now.Load().next(res, known, time.Now())
	c.now.Store(l)
	return res, l, nil
}

// askForAbsent asks by name for topics that an answer about all topics does not speak of: a topic that may not even be seen is left out there, and only by
// its name the broker says that it is a matter of rights.
func (c *compass) askForAbsent(ctx context.Context, res *metadata.Response, known []string) error {
	absent := slices.DeleteFunc(slices.Clone(known), func(name string) bool {
		return slices.ContainsFunc(res.Topics, func(t metadata.ResponseTopic) bool { return t.Name == name })
	})
	if len(absent) == 0 {
		return nil
	}
	more, err := c.p.control.metadata(ctx, absent)
	if err == nil {
		res.Topics = append(res.Topics, more.Topics...)
	}
	return err
}

// watchFor adds the topic of a provisional lane.
func (c *compass) watchFor(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.extra[name]; !ok {
		c.extra[name] = struct{}{}
		c.doubt()
	}
}

// pin makes the lanes of every topic that exists.
func (p *Publisher) pin(l *layout) {
	pins := make(map[string]*topic, len(l.topics))
	for name := range l.topics {
		n := l.count(name)
		if n == 0 {
			continue
		}
		t := &topic{name: name, lanes: make([]*lane, n)}
		t.limit.Store(defaultLimit)
		for i := range t.lanes {
			t.lanes[i] = &lane{p: p, topic: t, at: relay.Lane{Topic: name, Index: int32(i)}, session: p.base}
		}
		pins[name] = t
	}
	p.pins.Store(&pins)
}

// Lane names the partition of a message. A topic that the broker did not know when the publisher was opened has one provisional lane, -1, for as long as
// this publisher lives.
func (p *Publisher) Lane(m *relay.Message) relay.Lane {
	pins := p.pins.Load()
	if pins == nil {
		return relay.Lane{Topic: m.Target, Index: provisional}
	}
	t := (*pins)[m.Target]
	if t == nil {
		return relay.Lane{Topic: m.Target, Index: provisional}
	}
	n := int32(len(t.lanes))
	if m.Key == "" {
		return relay.Lane{Topic: t.name, Index: record.Keyless(m.ID, n)}
	}
	return relay.Lane{Topic: t.name, Index: p.hash(m.Key, n)}
}

// leader finds who takes a lane's batches; signal 0 = found.
func (p *Publisher) leader(ctx context.Context, at relay.Lane) (int32, signal, string) {
	l, err := p.compass.layout(ctx)
	if err != nil {
		if r := p.dialer.refusal(err); r != nil {
			return 0, r.sig, r.addr + ": " + r.words
		}
		return 0, sigDial, reason(err)
	}
	leader, sig := l.leader(at, time.Now(), p.missingAfter)
	return leader, sig, ""
}

// undelivered is the outcome of a provisional lane: nothing is sent there.
func (p *Publisher) undelivered(ctx context.Context, at relay.Lane) relay.Outcome {
	if why := illegalTopic(at.Topic); why != "" {
		r := rules[17]
		return r.outcome(17, at.Topic, why)
	}
	p.compass.watchFor(at.Topic)
	_, sig, detail := p.leader(ctx, relay.Lane{Topic: at.Topic})
	if sig == 0 || sig == sigNoLeader {
		p.kick() // it appeared: the watcher tells
		r := rules[sigNoTopic]
		r.scope, r.text = relay.ScopeTopic, "the topic has just appeared; its lanes are being made"
		return r.outcome(sigNoTopic, at.Topic, "")
	}
	r, _ := decide(sig, false, false, 0)
	if r.kind == relay.Unavailable {
		r.scope = relay.ScopeTopic
	}
	p.act(r.do)
	return r.outcome(sig, at.Topic, detail)
}

// watch compares the cluster with the pinned lanes every 30 s, or at once when it is kicked, until the publisher is closed.
func (p *Publisher) watch() {
	defer p.tasks.Done()
	tick := time.NewTicker(p.watchEvery)
	defer tick.Stop()
	told := map[string]int{}
	limits := limitsWatch{all: time.Now()}
	for {
		select {
		case <-p.calls.Context().Done():
			return
		case <-tick.C:
			p.compass.doubt()
		case <-p.kicked:
		}
		l, err := p.compass.layout(p.calls.Context())
		if err != nil {
			continue // an outage is told by the batches
		}
		p.compare(l, told)
		p.followLimits(&limits)
	}
}

// compare tells of every topic whose number of partitions is not the pinned one, once per number.
func (p *Publisher) compare(l *layout, told map[string]int) {
	pins := *p.pins.Load()
	p.compass.mu.Lock()
	names := make([]string, 0, len(pins)+len(p.compass.extra))
	for name := range p.compass.extra {
		names = append(names, name)
	}
	p.compass.mu.Unlock()
	for name := range pins {
		names = append(names, name)
	}
	for _, name := range names {
		pinned := 0
		if t := pins[name]; t != nil {
			pinned = len(t.lanes)
		}
		n := l.count(name)
		if n == 0 || n == pinned || told[name] == n {
			continue
		}
		told[name] = n
		if p.cfg.OnLanesChanged != nil {
			p.cfg.OnLanesChanged(name)
		}
	}
}

func (p *Publisher) kick() {
	select {
	case p.kicked <- struct{}{}:
	default:
	}
}
