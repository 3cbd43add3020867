package checker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// Plan is one run: everything that decides what happens, so that a seed and a profile give the same faults in the same order again.
type Plan struct {
	Profile  string        `json:"profile"`
	Seed     uint64        `json:"seed"`
	For      time.Duration `json:"for"`    // of load; the run also ends when all cycles are done
	Cycles   int           `json:"cycles"` // faults; 0 = as many as fit
	Outboxes int           `json:"outboxes"`
	Relays   int           `json:"relays"` // of each outbox
	Postgres int           `json:"postgres"`

	Load   Workload `json:"load"`
	Tuning Tuning   `json:"tuning"`

	Kinds       map[Kind]int      `json:"kinds"`        // weights
	Fake        bool              `json:"fake"`         // fake Kafka
	CommitDelay bool              `json:"commit_delay"` // fsync on and flushes that take up to 50 ms: claims are in the air when the server dies
	WALDelay    time.Duration     `json:"wal_delay"`    // wal_writer_delay: how long asynchronous commits stay at risk
	Settings    map[string]string `json:"settings"`     // of PostgreSQL
	NoActs      bool              `json:"no_acts"`      // nobody discards or skips dead messages
	Bug         kp.Bug            `json:"bug"`
	MinRate     float64           `json:"min_rate"` // messages a second of an outbox, on the average, before the first fault
	Out         string            `json:"out"`
}

// Kind is a fault.
type Kind string

// The faults.
const (
	KillOwner    Kind = "kill_owner"    // kill -9 of the relay that owns the outbox
	KillAll      Kind = "kill_all"      // of all relays of the outbox
	KillPoint    Kind = "kill_point"    // a relay kills itself at a point of internal/kp
	PauseOwner   Kind = "pause_owner"   // SIGSTOP past the lease, SIGCONT
	Partition    Kind = "partition"     // the owner loses its database past the lease, and not its broker
	KillPostgres Kind = "kill_postgres" // kill -9 of the postmaster, restart
	KillKafka    Kind = "kill_kafka"    // kill -9 of the broker, restart
	BothDown     Kind = "both_down"     // PostgreSQL and every owner at once
	KafkaAway    Kind = "kafka_away"    // broker down for 15 s
	LaneTimeout  Kind = "lane_timeout"  // fake broker: one partition answers "timed out" for 8 s
	HarmCache    Kind = "harm_cache"    // broker down until a cache holds messages, which is then harmed
)

// Profiles are the kinds of a run by name.
var Profiles = map[string]map[Kind]int{
	"mixed":     {KillOwner: 46, KillAll: 5, KillPoint: 28, KillPostgres: 14, KillKafka: 5, BothDown: 2, HarmCache: 3},
	"kill":      {KillOwner: 80, KillAll: 20},
	"points":    {KillPoint: 100},
	"pause":     {PauseOwner: 100},
	"partition": {Partition: 100},
	"database":  {KillPostgres: 80, BothDown: 20},
	"broker":    {KillKafka: 100},
	"cache":     {HarmCache: 100},
	"quiet":     {},
}

// ProfileNames lists them.
func ProfileNames() []string {
	var names []string
	for name := range Profiles {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// NewPlan returns the plan of a profile with its defaults: short leases, two relays an outbox.
func NewPlan(profile string, seed uint64) (Plan, error) {
	kinds, ok := Profiles[profile]
	if !ok {
		return Plan{}, fmt.Errorf("no profile %q; there are %s", profile, strings.Join(ProfileNames(), ", "))
	}
	return Plan{
		Profile: profile, Seed: seed, For: 10 * time.Minute, Cycles: 200, Outboxes: 4, Relays: 2, Postgres: 18, Kinds: kinds, WALDelay: 200 * time.Millisecond,
		Load: Workload{Rate: 40, Writers: 6, Keys: 60, Async: 2, Poison: 0.001, Scheduled: 0.02, Bulk: 200, LongTx: 0.005, MaxFiller: 1500},
		Tuning: Tuning{Lease: 900 * time.Millisecond, Write: 100 * time.Millisecond, Quarantine: time.Second, Publish: 5 * time.Second, Batch: 50, SettleBatches: 4,
			MaxAttempts: 20, RetryInitial: 50 * time.Millisecond},
		MinRate: 25,
	}, nil
}

// Replay is the line that repeats the run.
func (p *Plan) Replay() string {
	return fmt.Sprintf("go run ./internal/checker/chaos replay --profile %s --seed %#x --cycles %d --for %s --outboxes %d --relays %d --postgres %d",
		p.Profile, p.Seed, p.Cycles, p.For, p.Outboxes, p.Relays, p.Postgres)
}
