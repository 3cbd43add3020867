package telemetry

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybillmq/waybill/relay"
)

// Counts are what only the database knows; the owner counts now and then.
type Counts struct {
	At        time.Time                              // when it was counted, by the database's clock; zero = not yet
	Pending   relay.Count                            // in the main flow, capped
	Backlog   int64                                  // the same, where capped by ids: at most so many
	OldestAt  time.Time                              // of the oldest of those; zero = none
	TooOld    relay.Count                            // those that count as stuck
	FirstAt   time.Time                              // of the oldest row in the log; zero = it is empty
	Held      map[string]map[relay.HeldState]float64 // by destination and state
	Ahead     int                                    // partitions
	Relays    int                                    // seen lately, the owner among them
	Tables    []Table
	Sessions  []Sessions
	OldestTx  time.Duration
	drainTime float64 // seconds, from this count and the one before
}

// Table is the size of a table; rows are estimates.
type Table struct {
	Name       string
	Bytes      int64
	Live, Dead int64
}

// Sessions are the connections for one kind of work in one state.
type Sessions struct {
	Pool, State string
	N           int
}

// keepsUp is the age of the oldest pending message up to which nothing counts as backlog: between two counts messages always come and go.
const keepsUp = 15 * time.Second

// drainTime is how long the backlog of the newer count lasts at the rate of change since the older one, in seconds.
func drainTime(older, newer Counts) float64 {
	if newer.Backlog <= 0 || newer.OldestAt.IsZero() || newer.At.Sub(newer.OldestAt) < keepsUp {
		return 0
	}
	gone, took := older.Backlog-newer.Backlog, newer.At.Sub(older.At).Seconds()
	if older.At.IsZero() || gone <= 0 || took <= 0 {
		return math.Inf(1)
	}
	return float64(newer.Backlog) * took / float64(gone)
}

// SetCounts keeps the newest counts for the next scrapes; what they refer to is the receiver's from then on.
func (t *Telemetry) SetCounts(c Counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.drainTime = drainTime(t.counts, c)
	t.counts = c
}

// Acted counts messages that an act of a person changed.
func (t *Telemetry) Acted(action, via string, messages int64) {
	if c := t.metrics.acts[action]; c != nil {
		c.WithLabelValues(via).Add(float64(messages))
	}
}

// Operated counts messages of operations of one act that have an outcome now.
func (t *Telemetry) Operated(action, outcome string, messages int) {
	if messages > 0 {
		t.metrics.operated.WithLabelValues(action, outcome).Add(float64(messages))
	}
}

// SetOperations says how many operations of each act run; the map is the receiver's from then on.
func (t *Telemetry) SetOperations(running map[string]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.operations = running
}

// running are the operations of an owner; a standby runs none, whatever it once ran.
func (t *Telemetry) running(owner bool) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !owner {
		return nil
	}
	return t.operations
}

// Late counts pending messages that were found behind the low-water mark.
func (t *Telemetry) Late(messages int) { t.metrics.late.Add(float64(messages)) }

// AlertLost counts an alert that its webhook did not take.
func (t *Telemetry) AlertLost() { t.metrics.lostAlerts.Inc() }

// PartitionsDropped counts partitions that retention removed.
func (t *Telemetry) PartitionsDropped(n int) { t.metrics.dropped.Add(float64(n)) }

// counted are the gauges that belong to no destination; those of the database exist from the first count on.
func (g *gauges) counted(set func(*prometheus.Desc, float64, ...string), c Counts) {
	set(g.age, since(c.OldestAt), "", relay.StatePending)
	set(g.age, since(c.FirstAt), "", relay.StateSent)
	set(g.stuck, float64(c.TooOld), "")
	set(g.drain, c.drainTime)
	if c.At.IsZero() {
		return
	}
	set(g.partitions, float64(c.Ahead))
	set(g.transaction, c.OldestTx.Seconds())
	for _, s := range c.Sessions {
		set(g.connections, float64(s.N), s.Pool, s.State)
	}
	for _, t := range c.Tables {
		set(g.bytes, float64(t.Bytes), t.Name)
		set(g.live, float64(t.Live), t.Name)
		set(g.dead, float64(t.Dead), t.Name)
	}
}
