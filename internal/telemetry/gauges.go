package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybillmq/waybill/relay"
)

// gauges are read at each scrape from the relay's status and the newest counts. A relay that is not the owner reports 0, and nothing that it once counted.
type gauges struct {
	t   *Telemetry
	all []*prometheus.Desc

	owner, epoch, lease, lag, holes, holeAge, closed, ahead, pending *prometheus.Desc
	messages, age, up, breaker, paused, behind, queued, inFlight     *prometheus.Desc
	cached, cachedBytes, cacheFull                                   *prometheus.Desc
	stuck, drain, partitions, retention, connections, transaction    *prometheus.Desc
	bytes, live, dead, operations                                    *prometheus.Desc
}

func newGauges(t *Telemetry) *gauges {
	g := &gauges{t: t}
	d := func(name, help string, labels ...string) *prometheus.Desc {
		desc := prometheus.NewDesc("waybill_"+name, help, labels, nil)
		g.all = append(g.all, desc)
		return desc
	}
	g.owner = d("owner", "1 while this relay owns the outbox.")
	g.epoch = d("owner_epoch", "Epoch of this relay's ownership.")
	g.lease = d("lease_remaining_seconds", "How long this relay still trusts its lease.")
	g.lag = d("low_water_mark_lag_ids", "Ids between the low-water mark and the highest id read.")
	g.holes = d("holes", "Ranges of ids that were drawn and not seen yet.")
	g.holeAge = d("oldest_hole_age_seconds", "Age of the oldest hole: a transaction of a writer is as old.")
	g.closed = d("blocked_keys", "Closed keys: their messages wait behind a dead or retrying one.")
	g.ahead = d("messages_ahead", "Messages read and not yet confirmed.")
	g.pending = d("pending_messages", "Messages in the main flow of the database, 10001 = more than 10000; as of the last count.")
	g.messages = d("messages", "Messages by state: pending as this relay has them in hand, the others as of the last count.", "destination", "state")
	g.age = d("oldest_message_age_seconds", "Time since the oldest message was written: of a destination, those in hand; without destination, every pending one that is not held, and sent = the oldest row still in the log.", "destination", "state")
	g.up = d("destination_up", "1 while the destination takes messages.", "destination")
	g.breaker = d("breaker_open", "1 while the destination is left alone and probed.", "destination")
	g.paused = d("destination_paused", "1 while the destination, or one of its topics, gets nothing: config = something must be changed, person = somebody has paused it.", "destination", "reason")
	g.behind = d("lanes_behind", "Lanes whose queue was dropped and that the catch-up reader feeds.", "destination")
	g.queued = d("messages_queued", "Messages that wait in lanes.", "destination")
	g.cached = d("cache_messages", "Messages in the degraded cache, which are pending too.", "destination")
	g.cachedBytes = d("cache_bytes", "Bytes of them on the disk.", "destination")
	g.cacheFull = d("cache_full", "1 while the degraded cache takes nothing more of the destination.", "destination")
	g.inFlight = d("messages_in_flight", "Messages handed to the broker and not answered.", "destination")
	g.stuck = d("stuck_messages", "Messages that are dead or blocked; without destination those that are pending for longer than relay.stuck_after, 10001 = more than 10000.", "destination")
	g.drain = d("estimated_drain_seconds", "Time until the backlog has gone at the rate at which it shrinks; 0 = it keeps up, +Inf = it does not shrink.")
	g.partitions = d("partitions_ahead", "Whole partitions above the highest id; below 1 new messages go to the default partition.")
	g.retention = d("retention_seconds", "How long sent messages are kept, +Inf = for ever.")
	g.connections = d("db_connections", "Connections of Waybill, all its processes, to this database.", "pool", "state")
	g.transaction = d("oldest_transaction_age_seconds", "Age of the oldest transaction in the database, those of other logins with pg_monitor only: it holds back vacuum and keeps holes open.")
	g.operations = d("operations_running", "Operations that run now; one that a person has paused does not.", "action")
	g.bytes = d("table_bytes", "Size of a table of the outbox with its partitions and indexes.", "table")
	g.live = d("table_live_tuples", "Rows of a table, as the server estimates them.", "table")
	g.dead = d("table_dead_tuples", "Dead rows of a table that vacuum has not removed, as the server estimates them.", "table")
	return g
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range g.all {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	st, counts := g.t.status(), g.t.counted()
	if !st.Owner {
		counts = Counts{}
	}
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
	set(g.retention, g.t.retention)
	for action := range operationOutcomes {
		set(g.operations, float64(g.t.running(st.Owner)[action]), action)
	}
	g.counted(set, counts)
	for _, name := range g.t.destinations {
		g.destination(set, name, state(st, name), counts, st.Owner)
	}
}

func (g *gauges) destination(set func(*prometheus.Desc, float64, ...string), name string, d relay.DestinationState, counts Counts, owner bool) {
	set(g.messages, float64(d.Queued+d.InFlight), name, relay.StatePending)
	for _, s := range []relay.HeldState{relay.Scheduled, relay.Retrying, relay.Blocked, relay.Dead} {
		set(g.messages, counts.Held[name][s], name, string(s))
	}
	set(g.stuck, counts.Held[name][relay.Dead]+counts.Held[name][relay.Blocked], name)
	set(g.age, since(d.Oldest), name, relay.StatePending)
	set(g.up, one(!owner || !d.BreakerOpen && !d.Paused), name)
	set(g.breaker, one(d.BreakerOpen), name)
	set(g.paused, one(d.Paused || len(d.Topics) > 0), name, "config")
	set(g.paused, one(d.Stopped != nil), name, "person")
	set(g.behind, float64(d.LanesBehind), name)
	set(g.queued, float64(d.Queued), name)
	set(g.inFlight, float64(d.InFlight), name)
	set(g.cached, float64(d.Cached), name)
	set(g.cachedBytes, float64(d.CachedBytes), name)
	set(g.cacheFull, one(!d.CacheFull.IsZero()), name)
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
