package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybillmq/waybill/relay"
)

// Counts are what only the database knows; the owner counts now and then.
type Counts struct {
	Pending  relay.Count                            // in the main flow, capped
	OldestAt time.Time                              // of the oldest of those; zero = none
	Held     map[string]map[relay.HeldState]float64 // by destination and state
}

// gauges are read at each scrape from the relay's status and the newest counts. A relay that is not the owner reports 0.
type gauges struct {
	t *Telemetry

	owner, epoch, lease, lag, holes, holeAge, closed, ahead, pending *prometheus.Desc
	messages, age, up, breaker, paused, behind, queued, inFlight     *prometheus.Desc
}

func newGauges(t *Telemetry) *gauges {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("waybill_"+name, help, labels, nil)
	}
	return &gauges{
		t:        t,
		owner:    d("owner", "1 while this relay owns the outbox."),
		epoch:    d("owner_epoch", "Epoch of this relay's ownership."),
		lease:    d("lease_remaining_seconds", "How long this relay still trusts its lease."),
		lag:      d("low_water_mark_lag_ids", "Ids between the low-water mark and the highest id read."),
		holes:    d("holes", "Ranges of ids that were drawn and not seen yet."),
		holeAge:  d("oldest_hole_age_seconds", "Age of the oldest of them: a transaction of a writer is as old."),
		closed:   d("blocked_keys", "Closed keys: their messages wait behind a dead or retrying one."),
		ahead:    d("messages_ahead", "Messages read and not yet confirmed."),
		pending:  d("pending_messages", "Messages in the main flow of the database, 10001 = more than 10000; as of the last count."),
		messages: d("messages", "Messages by state: pending as this relay has them in hand, the others as of the last count.", "destination", "state"),
		age:      d("oldest_message_age_seconds", "Time since the oldest message of the destination in hand was written.", "destination", "state"),
		up:       d("destination_up", "1 while the destination takes messages.", "destination"),
		breaker:  d("breaker_open", "1 while the destination is left alone and probed.", "destination"),
		paused:   d("destination_paused", "1 while something must be changed before the destination, or one of its topics, goes on.", "destination", "reason"),
		behind:   d("lanes_behind", "Lanes whose queue was dropped and that the catch-up reader feeds.", "destination"),
		queued:   d("messages_queued", "Messages that wait in lanes.", "destination"),
		inFlight: d("messages_in_flight", "Messages handed to the broker and not answered.", "destination"),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.owner, g.epoch, g.lease, g.lag, g.holes, g.holeAge, g.closed, g.ahead, g.pending, g.messages, g.age, g.up, g.breaker,
		g.paused, g.behind, g.queued, g.inFlight} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	st, counts := g.t.status(), g.t.counted()
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	set(g.owner, one(st.Owner))
	set(g.epoch, float64(st.Epoch))
	set(g.lease, st.Trust.Seconds())
	set(g.lag, float64(max(0, st.ReadUpTo-st.LowWater)))
	set(g.holes, float64(st.Holes))
	set(g.holeAge, since(st.OldestHole))
	set(g.closed, float64(st.ClosedKeys))
	set(g.ahead, float64(st.Ahead))
	set(g.pending, float64(counts.Pending))
	for _, name := range g.t.destinations {
		g.destination(set, name, state(st, name), counts, st.Owner)
	}
}

func (g *gauges) destination(set func(*prometheus.Desc, float64, ...string), name string, d relay.DestinationState, counts Counts, owner bool) {
	set(g.messages, float64(d.Queued+d.InFlight), name, relay.StatePending)
	for _, s := range []relay.HeldState{relay.Scheduled, relay.Retrying, relay.Blocked, relay.Dead} {
		set(g.messages, counts.Held[name][s], name, string(s))
	}
	set(g.age, since(d.Oldest), name, relay.StatePending)
	set(g.up, one(!owner || !d.BreakerOpen && !d.Paused), name)
	set(g.breaker, one(d.BreakerOpen), name)
	set(g.paused, one(d.Paused || len(d.Topics) > 0), name, "config")
	set(g.behind, float64(d.LanesBehind), name)
	set(g.queued, float64(d.Queued), name)
	set(g.inFlight, float64(d.InFlight), name)
}

func state(st relay.Status, name string) relay.DestinationState {
	for _, d := range st.Destinations {
		if d.Name == name {
			return d
		}
	}
	return relay.DestinationState{}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func since(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, time.Since(t).Seconds())
}
