package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/calls"
	"github.com/waybillmq/waybill/relay"
)

// closeWait is for the library to let go: a send that is out returns after 3 s at the latest.
const closeWait = libraryWait + time.Second

// Publisher is a relay.Publisher for one RocketMQ cluster. All its methods may be called concurrently, Publish only for different lanes.
type Publisher struct {
	cfg   Config
	hash  func(key string, n int32) int32
	probe *prober

	calls  *calls.Calls
	tasks  sync.WaitGroup // watcher, clients that retire
	kicked chan struct{}
	routes routes

	pins    atomic.Pointer[map[string]*topic] // set by the first Open that succeeds, never changed
	cluster atomic.Pointer[string]            // its id, set before pins

	opening chan struct{} // held by Open
	clients clients

	unlisted, renewed atomic.Uint64
	judged            [rollback>>2 + 1]atomic.Uint64 // questions about halves, by verdict

	watchEvery, missingAfter time.Duration // the constants, shorter in tests
}

var _ relay.Publisher = (*Publisher)(nil)

// New makes a publisher. It does no network: a cluster that is down is met by Open. The error is that of cfg.Validate.
func New(cfg Config) (*Publisher, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.NameServers = slices.Clone(cfg.NameServers)
	if cfg.Log != nil {
		log.Store(cfg.Log)
	}
	if cfg.Topics != nil {
		cfg.Topics = append(make([]string, 0, len(cfg.Topics)), cfg.Topics...)
	}
	p := &Publisher{
		cfg: cfg, calls: calls.New("rocketmq"), hash: cfg.Partitioner.hash(), probe: newProber(cfg), kicked: make(chan struct{}, 1), opening: make(chan struct{}, 1),
		routes: routes{known: map[string]*known{}}, watchEvery: watchEvery, missingAfter: missingAfter,
	}
	return p, nil
}

// Capabilities are those of the configuration.
func (p *Publisher) Capabilities() relay.Capabilities { return p.cfg.Capabilities() }

// ClusterID is the cluster that answered Open: its name, a slash, and the names of the masters first seen, "DefaultCluster/broker-a,broker-b"; empty before. Compare
// two of them by SameCluster.
func (p *Publisher) ClusterID() string {
	if id := p.cluster.Load(); id != nil {
		return *id
	}
	return ""
}

func (p *Publisher) clusterName() string { name, _, _ := strings.Cut(p.ClusterID(), "/"); return name }
func (p *Publisher) clusterLength() int  { return strings.IndexByte(p.ClusterID()+"/", '/') }

// SameCluster says whether two cluster ids are of one cluster: the name must match, and one broker. The name alone is often "DefaultCluster", and brokers come and go.
func SameCluster(a, b string) bool {
	nameA, brokersA, _ := strings.Cut(a, "/")
	nameB, brokersB, _ := strings.Cut(b, "/")
	if nameA != nameB {
		return false
	}
	others := strings.Split(brokersB, ",")
	return slices.ContainsFunc(strings.Split(brokersA, ","), func(broker string) bool { return slices.Contains(others, broker) })
}

// Counters of this publisher since it was made.
type Counters struct {
	UnlistedErrors uint64 // answers that the error map does not know
	Renewed        uint64 // the library's client was replaced

	// What brokers asked about half messages, by our answer.
	Undecided, Committed, RolledBack uint64
}

// Counters may be called at any time.
func (p *Publisher) Counters() Counters {
	return Counters{UnlistedErrors: p.unlisted.Load(), Renewed: p.renewed.Load(), Undecided: p.judged[undecided>>2].Load(),
		Committed: p.judged[commit>>2].Load(), RolledBack: p.judged[rollback>>2].Load()}
}

// Open learns which cluster answers, and its topics. RocketMQ cannot be told the epoch: a new owner waits for the quarantine. The queues of the first Open that
// succeeds hold while the publisher lives.
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
		return fmt.Errorf("%w: rocketmq: open: %w", relay.ErrUnavailable, ctx.Err())
	}
	id, err := p.identify(ctx)
	if err != nil {
		return err
	}
	if before := p.ClusterID(); before != "" && !SameCluster(before, id) {
		return &relay.ConfigError{Class: relay.ClassUnsafeBroker, Text: fmt.Sprintf(
			"rocketmq: the name servers %v answer for the cluster %q, but this destination was opened on %q; check the addresses", p.cfg.NameServers, id, before)}
	}
	if p.pins.Load() != nil {
		return nil
	}
	found, err := p.learnTopics(ctx)
	if err != nil {
		return p.unavailable(err)
	}
	p.cluster.Store(&id)
	if refused := p.encryptedMaster(ctx); refused != nil {
		return refused
	}
	p.pin(found)
	p.learnLimits(ctx)
	p.freshen(ctx)
	p.tasks.Add(1)
	go p.watch()
	if p.cfg.Transactional {
		p.attendAll()
	}
	return nil
}

// unavailable is the error of Open and Check for one of the prober.
func (p *Publisher) unavailable(err error) error {
	var no *answerError
	var login *loginError
	var refused *encryptedError
	switch {
	case errors.As(err, &refused):
		return refused.asConfig()
	case errors.As(err, &login):
		return &relay.ConfigError{Class: relay.ClassAuth, Text: "rocketmq: the credentials cannot be read; check where they come from: " + login.err.Error()}
	case errors.As(err, &no) && no.code == 3:
		return &relay.ConfigError{Class: relay.ClassUnsafeBroker, Text: fmt.Sprintf("rocketmq: %v do not answer as name servers of RocketMQ 4.9 or 5; check name_servers", p.cfg.NameServers)}
	}
	return fmt.Errorf("%w: rocketmq: no name server of %v answered: %s", relay.ErrUnavailable, p.cfg.NameServers, reason(err))
}

// identify asks for the cluster and makes its id.
func (p *Publisher) identify(ctx context.Context) (string, error) {
	found, err := p.probe.brokers(ctx)
	if err != nil {
		return "", p.unavailable(err)
	}
	name := p.cfg.Cluster
	if names := slices.Sorted(maps.Keys(found.Clusters)); name == "" && len(names) > 1 {
		return "", &relay.ConfigError{Class: relay.ClassUnsafeBroker, Text: fmt.Sprintf("rocketmq: the name servers %v know the clusters %v; set cluster to one of them", p.cfg.NameServers, names)}
	} else if name == "" && len(names) == 1 {
		name = names[0]
	}
	masters := found.masters(name)
	if len(masters) == 0 {
		return "", fmt.Errorf("%w: rocketmq: no master of the cluster %q is registered with %v; start its brokers", relay.ErrUnavailable, name, p.cfg.NameServers)
	}
	return name + "/" + strings.Join(masters, ","), nil
}

// learnTopics asks for the routes of the topics that are configured, or of all that are no system topics; those that nobody knows are absent.
func (p *Publisher) learnTopics(ctx context.Context) (map[string]*route, error) {
	return all(ctx, p.probe, func(l *link) (map[string]*route, error) {
		names, err := p.topicNames(ctx, l)
		if err != nil {
			return nil, err
		}
		return l.routes(ctx, names)
	}, mergeTopics)
}

// topicNames are the names at the broker of the topics that may be sent to.
func (p *Publisher) topicNames(ctx context.Context, l *link) (names []string, err error) {
	if p.cfg.Topics == nil {
		all, err := l.topics(ctx)
		return slices.DeleteFunc(all, systemTopic), err
	}
	names = slices.Sorted(slices.Values(p.cfg.Topics))
	return slices.Compact(names), nil
}

// systemTopic says whether a topic is RocketMQ's own (TopicValidator and MixAll of 4.9). Those named after cluster and broker stay: nobody can tell.
func systemTopic(name string) bool {
	for _, prefix := range []string{"rmq_sys_", "RMQ_SYS_", "%RETRY%", "%DLQ%", "%SYS%", "CID_RMQ_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "TBW102", "SCHEDULE_TOPIC_XXXX", "BenchmarkTest", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT", "TRANS_CHECK_MAX_TIME_TOPIC":
		return true
	}
	return strings.HasSuffix(name, "_REPLY_TOPIC")
}

// Publish sends batch to its queue and takes nothing for stored but SEND_OK. See relay.Publisher.
func (p *Publisher) Publish(ctx context.Context, at relay.Lane, batch []*relay.Message) []relay.Outcome {
	if len(batch) == 0 {
		panic("rocketmq: empty batch")
	}
	out := make([]relay.Outcome, len(batch))
	ctx, done, err := p.calls.Enter(ctx)
	if err != nil {
		fill(out, relay.Outcome{Kind: relay.Unavailable, Class: relay.ClassUnreachable, Code: "rocketmq/closed", Detail: "the publisher was closed"})
		p.unsure(at, batch, out)
		return out
	}
	defer done()
	pins := p.pins.Load()
	if pins == nil {
		fill(out, relay.Outcome{Kind: relay.Unavailable, Class: relay.ClassUnreachable, Code: "rocketmq/not_open", Detail: "the destination was not opened yet"})
		return out
	}
	if at.Index < 0 {
		fill(out, p.undelivered(ctx, at))
		return out
	}
	l := p.lane(at)
	if l == nil {
		panic(fmt.Sprintf("rocketmq: foreign lane %v", at))
	}
	l.topic.used.Store(true)
	l.enter()
	defer l.leave()
	l.run(ctx, batch, out)
	return out
}

func (p *Publisher) lane(at relay.Lane) *lane {
	pins := p.pins.Load()
	if pins == nil || at.Index < 0 {
		return nil
	}
	t := (*pins)[at.Topic]
	if t == nil || int(at.Index) >= len(t.lanes) {
		return nil
	}
	return t.lanes[at.Index]
}

// unsure makes unknown what an earlier try may have stored, once the publisher is closed.
func (p *Publisher) unsure(at relay.Lane, batch []*relay.Message, out []relay.Outcome) {
	l := p.lane(at)
	if l == nil {
		return
	}
	l.enter()
	defer l.leave()
	for i, m := range batch {
		if l.doubted(m.ID) {
			out[i].Kind, out[i].Earlier = relay.Unknown, true
		}
	}
}

func fill(out []relay.Outcome, o relay.Outcome) {
	for i := range out {
		out[i] = o
	}
}

// Close refuses new calls, waits for the running ones until ctx ends; calls that still wait return Unknown then. It returns an error when the library did not let go
// within four seconds after that. The library itself keeps two goroutines for 10 s more, and a connection to a name server for up to 45 s.
func (p *Publisher) Close(ctx context.Context) error {
	if p.calls.Close(ctx, closeWait, func() {}, p.release) {
		return nil
	}
	return errors.New("rocketmq: close: a send did not return within 4 s")
}

func (p *Publisher) release() {
	p.retireAll()
	p.tasks.Wait()
	p.hangUp()
}
