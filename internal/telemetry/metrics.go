package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/waybillmq/waybill/relay"
)

// classes of an error, by outcome: with them every series can exist before the first error.
var classesOf = map[relay.Kind][]string{
	relay.Acked:       {""},
	relay.Rejected:    {relay.ClassTooLarge, relay.ClassInvalid, relay.ClassRefused},
	relay.Unknown:     {relay.ClassTimeout, relay.ClassCut, relay.ClassNotReplicated, relay.ClassInternal},
	relay.Unavailable: {relay.ClassUnreachable, relay.ClassThrottled},
	relay.Config:      {relay.ClassAuth, relay.ClassUnknownTopic, relay.ClassDenied, relay.ClassUnroutable, relay.ClassUnsafeBroker},
}

// noClass is the class of what is held without a failure of its own.
const noClass = "none"

// The causes of possible duplicates and of a reader's waking, as the engine names them.
var (
	repeatCauses = []string{"owner", "unknown", "forced"}
	wakeCauses   = []string{"notify", "poll", "retry"}
	dbOps        = []string{"read", "claim", "settle"}
	vias         = []string{"cli", "ui", "api", "auto"}
)

// operationOutcomes are what can become of a message of an operation, by its act.
var operationOutcomes = map[string][]string{
	relay.PlanRetry:   {relay.OutcomeSent, relay.OutcomeFailedAgain, relay.OutcomeWaits, relay.OutcomeChanged},
	relay.PlanSkip:    {relay.OutcomeSkipped, relay.OutcomeChanged},
	relay.PlanDiscard: {relay.OutcomeDiscarded, relay.OutcomeChanged},
}

// metrics are the series that events feed.
type metrics struct {
	read, settled, fenced, reborn             prometheus.Counter
	late, dropped, lostAlerts                 prometheus.Counter
	acts                                      map[string]*prometheus.CounterVec // by act
	sent, held, dead, outcomes, repeats       *prometheus.CounterVec
	wakeups, failures, operated               *prometheus.CounterVec
	latency, publishing, batchCount, batchLen *prometheus.HistogramVec
	queries                                   *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "waybill", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "waybill", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help, label string, buckets []float64) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "waybill", Name: name, Help: help, Buckets: buckets}, []string{label})
		r.MustRegister(h)
		return h
	}
	seconds := []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	return &metrics{
		read:       counter("messages_read_total", "Messages read from the outbox; a message may be read again."),
		settled:    counter("messages_settled_total", "Messages marked as sent."),
		fenced:     counter("fenced_total", "Times that this relay found a newer owner."),
		reborn:     counter("reborn_total", "Times that read messages were dropped because the database server restarted after a crash."),
		late:       counter("late_rows_total", "Pending messages found behind the low-water mark: ids were written by hand, or the sequence was set back."),
		dropped:    counter("partitions_dropped_total", "Partitions of sent messages that retention dropped."),
		lostAlerts: counter("alert_posts_failed_total", "Alerts that the webhook did not take in eight tries, or that were too many."),
		acts: map[string]*prometheus.CounterVec{
			"retry":   counters("messages_retried_total", "Messages that people gave another try, as the activity log tells.", "via"),
			"skip":    counters("messages_skipped_total", "Dead messages that people let their keys pass, as the activity log tells.", "via"),
			"discard": counters("messages_discarded_total", "Messages that people gave up, as the activity log tells.", "via"),
		},
		sent:       counters("messages_sent_total", "Messages that the broker confirmed.", "destination", "topic"),
		held:       counters("messages_held_total", "Messages set aside, by the class of their failure; none for blocked and scheduled ones.", "destination", "topic", "class"),
		dead:       counters("messages_dead_total", "Messages given up until a person acts.", "destination", "topic", "class"),
		outcomes:   counters("publish_outcomes_total", "Outcomes of publishing, one for each message and try.", "destination", "outcome", "class"),
		repeats:    counters("possible_duplicates_total", "Messages that may lie at the broker twice, by cause.", "destination", "cause"),
		operated:   counters("operation_items_total", "Messages of operations by what became of them.", "action", "outcome"),
		wakeups:    counters("wakeups_total", "What woke the reader.", "cause"),
		failures:   counters("db_errors_total", "Operations that failed and were tried again.", "op"),
		latency:    histogram("delivery_latency_seconds", "Time from writing a message to the broker's confirmation.", "destination", seconds),
		publishing: histogram("publish_duration_seconds", "Time until a broker answered one batch.", "destination", seconds),
		batchCount: histogram("batch_messages", "Messages of a batch.", "destination", prometheus.ExponentialBuckets(1, 2, 11)),
		batchLen:   histogram("batch_bytes", "Bytes of a batch: payload, key, headers.", "destination", prometheus.ExponentialBuckets(256, 4, 9)),
		queries:    histogram("db_query_duration_seconds", "Time of the relay's work on the database.", "op", []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}),
	}
}

// create makes every series of the configured destinations, at 0: an alert on a rate stays silent for a series that does not exist yet.
func (m *metrics) create(destinations []string) {
	for _, c := range wakeCauses {
		m.wakeups.WithLabelValues(c)
	}
	for _, op := range dbOps {
		m.queries.WithLabelValues(op)
		m.failures.WithLabelValues(op)
	}
	for _, act := range m.acts {
		for _, via := range vias {
			act.WithLabelValues(via)
		}
	}
	for action, outcomes := range operationOutcomes {
		for _, o := range outcomes {
			m.operated.WithLabelValues(action, o)
		}
	}
	for _, d := range destinations {
		m.sent.WithLabelValues(d, otherTopic)
		m.held.WithLabelValues(d, otherTopic, noClass)
		for _, c := range repeatCauses {
			m.repeats.WithLabelValues(d, c)
		}
		for kind, classes := range classesOf {
			for _, c := range classes {
				m.outcomes.WithLabelValues(d, kind.String(), c)
				if kind == relay.Acked {
					continue
				}
				m.held.WithLabelValues(d, otherTopic, c)
				if kind == relay.Rejected || kind == relay.Unknown {
					m.dead.WithLabelValues(d, otherTopic, c)
				}
			}
		}
		for _, h := range []*prometheus.HistogramVec{m.latency, m.publishing, m.batchCount, m.batchLen} {
			h.WithLabelValues(d)
		}
	}
}

// newRegistry is a registry of its own: two outboxes of one process, or two tests, share nothing.
func newRegistry(outbox, version string) (*prometheus.Registry, prometheus.Registerer) {
	registry := prometheus.NewRegistry()
	r := prometheus.WrapRegistererWith(prometheus.Labels{"outbox": outbox}, registry)
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "waybill", Name: "build_info", Help: "1, with the version of the program.", ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	r.MustRegister(build)
	return registry, r
}
