package telemetry

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybillmq/waybill/relay"
)

// Options say what is observed.
type Options struct {
	Outbox       string
	Version      string
	Destinations []string     // every configured one: its series exist from the start
	TopicsMax    int          // topics with series of their own; the others share __other__
	Retention    float64      // seconds that sent messages are kept; +Inf = for ever
	Log          *slog.Logger // where events are told
}

// Telemetry turns what a relay does into metrics and log lines. Safe for concurrent use.
type Telemetry struct {
	registry     *prometheus.Registry
	metrics      *metrics
	topics       *topics
	log          *slog.Logger
	destinations []string
	retention    float64

	mu         sync.Mutex
	watch      func() relay.Status
	counts     Counts
	operations map[string]int // that run, by act
}

// New registers every metric.
func New(o Options) *Telemetry {
	registry, r := newRegistry(o.Outbox, o.Version)
	t := &Telemetry{registry: registry, metrics: newMetrics(r), topics: &topics{most: max(o.TopicsMax, 1), seen: map[string]struct{}{}}, log: o.Log,
		destinations: append([]string(nil), o.Destinations...), retention: o.Retention}
	t.metrics.create(t.destinations)
	r.MustRegister(newGauges(t))
	return t
}

// Watch says where the present state comes from; before it there is none.
func (t *Telemetry) Watch(status func() relay.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watch = status
}

func (t *Telemetry) status() relay.Status {
	t.mu.Lock()
	watch := t.watch
	t.mu.Unlock()
	if watch == nil {
		return relay.Status{}
	}
	return watch()
}

func (t *Telemetry) counted() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// Events returns the functions for the engine.
func (t *Telemetry) Events() relay.Events {
	m, log := t.metrics, t.log
	query := func(op string, took time.Duration) { m.queries.WithLabelValues(op).Observe(took.Seconds()) }
	return relay.Events{
		Acquired: func(l relay.Lease) {
			log.Info("owner of the outbox", "epoch", int64(l.Epoch), "takeover", l.Takeover, "quiet", l.Quiet.Round(time.Millisecond))
			if l.Began != "" {
				log.Warn("a new generation of message ids begins, so that no id that is drawn again stands for a message that was sent; what the database had not marked sent is sent again",
					"id", int64(l.Generations[len(l.Generations)-1].From), "why", l.Began)
			}
		},
		Lost:      t.lost,
		Read:      func(n int, took time.Duration) { m.read.Add(float64(n)); query("read", took) },
		Claimed:   func(_ int, took time.Duration) { query("claim", took) },
		Published: t.published,
		Settled:   func(n, _ int, took time.Duration) { m.settled.Add(float64(n)); query("settle", took) },
		Held:      t.held,
		Breaker: func(d string, open bool, cause relay.Outcome) {
			if open {
				log.Warn("breaker open: the destination is probed, messages wait and lose no attempt", outcomeAttrs(d, cause)...)
			} else {
				log.Info("breaker closed: the destination answers again", "destination", d)
			}
		},
		Paused: func(d string, lane relay.Lane, scope relay.Scope, cause relay.Outcome) {
			log.Warn("paused until something is changed; tried again every 30 s", append(outcomeAttrs(d, cause), "scope", scope.String(), "lane", lane.String())...)
		},
		Resumed: func(d string, lane relay.Lane, scope relay.Scope) {
			log.Info("goes on", "destination", d, "scope", scope.String(), "lane", lane.String())
		},
		Stopped: func(d string, by *relay.PausedDestination) {
			if by == nil {
				log.Info("a person's pause is over: the destination goes on", "destination", d)
				return
			}
			log.Warn("paused by a person: messages wait and lose no attempt", "destination", d, "actor", by.Actor, "since", by.At, "until", untilWhen(by.Until))
		},
		Behind: func(d string, lane relay.Lane, from relay.ID, behind bool) {
			log.Debug("lane behind", "destination", d, "lane", lane.String(), "id", int64(from), "behind", behind)
		},
		Repeats: func(d, cause string, n int) { m.repeats.WithLabelValues(d, cause).Add(float64(n)) },
		Reborn: func(cause error) {
			m.reborn.Inc()
			log.Warn("what was read and not claimed is dropped and read again", "err", cause)
		},
		Woken: func(cause string) { m.wakeups.WithLabelValues(cause).Inc() },
		Failed: func(op string, err error) {
			m.failures.WithLabelValues(op).Inc()
			log.Warn("an operation failed and is tried again", "operation", op, "err", err)
		},
	}
}

// untilWhen is the end of a pause for a log line.
func untilWhen(t time.Time) string {
	if t.IsZero() {
		return "resumed"
	}
	return t.UTC().Format(time.RFC3339)
}

func (t *Telemetry) lost(epoch relay.Epoch, cause error) {
	if cause == nil {
		t.log.Info("gave the outbox back", "epoch", int64(epoch))
		return
	}
	if errors.Is(cause, relay.ErrFenced) {
		t.metrics.fenced.Inc()
	}
	t.log.Warn("no longer owner of the outbox", "epoch", int64(epoch), "err", cause)
}

// published runs for every batch: one label lookup for each run of equal outcomes and topics.
func (t *Telemetry) published(d string, lane relay.Lane, batch []*relay.Message, outcomes []relay.Outcome, took time.Duration) {
	m, now := t.metrics, time.Now()
	m.publishing.WithLabelValues(d).Observe(took.Seconds())
	m.batchCount.WithLabelValues(d).Observe(float64(len(batch)))
	latency := m.latency.WithLabelValues(d)
	bytes := 0
	for i := 0; i < len(batch); {
		j := i
		for ; j < len(batch) && outcomes[j].Kind == outcomes[i].Kind && outcomes[j].Class == outcomes[i].Class && batch[j].Topic == batch[i].Topic; j++ {
			bytes += batch[j].Weight()
			if outcomes[j].Kind == relay.Acked {
				latency.Observe(max(0, now.Sub(batch[j].CreatedAt).Seconds()))
			}
		}
		m.outcomes.WithLabelValues(d, outcomes[i].Kind.String(), outcomes[i].Class).Add(float64(j - i))
		if outcomes[i].Kind == relay.Acked {
			m.sent.WithLabelValues(d, t.topics.label(batch[i].Topic)).Add(float64(j - i))
		} else {
			t.log.Debug("not acked", append(outcomeAttrs(d, outcomes[i]), "lane", lane.String(), "id", int64(batch[i].ID), "n", j-i, "took", took)...)
		}
		i = j
	}
	m.batchLen.WithLabelValues(d).Observe(float64(bytes))
}

func (t *Telemetry) held(d, topic string, s relay.HeldState, f *relay.Failure) {
	class := noClass
	if f != nil {
		class = f.Class
	}
	label := t.topics.label(topic)
	t.metrics.held.WithLabelValues(d, label, class).Inc()
	if s != relay.Dead {
		return
	}
	t.metrics.dead.WithLabelValues(d, label, class).Inc()
	attrs := []any{"destination", d, "topic", topic, "class", class}
	if f != nil {
		attrs = append(attrs, "outcome", f.Outcome.String(), "code", f.Code, "err", f.Text)
	}
	t.log.Warn("a message is dead; waybill message list state:dead", attrs...)
}

func outcomeAttrs(destination string, o relay.Outcome) []any {
	return []any{"destination", destination, "outcome", o.Kind.String(), "class", o.Class, "code", o.Code, "err", o.Detail}
}
