package checker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/relay/relaytest"
)

// Exit codes of the program.
const (
	ExitGreen     = 0
	ExitViolation = 1
	ExitUsage     = 2
	ExitVoid      = 3 // the run proves nothing
	ExitChecker   = 4 // the checker itself failed
)

// Record is everything about a run.
type Record struct {
	Plan     Plan              `json:"plan"`
	Versions map[string]string `json:"versions"`
	Began    time.Time         `json:"began"`
	Took     time.Duration     `json:"took"`
	Drain    time.Duration     `json:"drain"`
	Faults   []Fault           `json:"faults"`
	Outboxes []Judged          `json:"outboxes"`

	// Heads is how often the database refused a second retrying message of a key: by its own log, so that no relay can hide it.
	Heads int `json:"heads"`

	Violations []string `json:"violations"`
	Void       []string `json:"void"`
	Exit       int      `json:"exit"`

	drained, stalled []bool
	perSec           []float64
}

// Judged is the verdict on one outbox.
type Judged struct {
	Name    string            `json:"name"`
	Verdict relaytest.Verdict `json:"verdict"`
	Bounds  relaytest.Bounds  `json:"bounds"`
	Epochs  int64             `json:"epochs"`
	PerSec  float64           `json:"per_sec"`
	Drained bool              `json:"drained"`
}

// bounds is the published formula: Q = B × (1 + S), and what was settled in the last 0.6 s when the database can die together with a relay.
func (r *Record) bounds(e *Evidence) relaytest.Bounds {
	t := r.Plan.Tuning
	b := relaytest.Bounds{Q: t.Batch * (1 + t.SettleBatches), Rewinds: int(max(e.Epochs-1, 0)), Placed: true}
	for _, f := range r.Faults {
		switch f.Kind {
		case KillPostgres, BothDown, Partition: // acks that only the cache of a relay without a database has are another one's repeats
			b.Q = t.Batch*(1+t.SettleBatches) + e.Burst
			b.Rewinds++
		case KillKafka, KafkaAway, LaneTimeout, HarmCache:
			b.Rewinds++
		}
	}
	return b
}

// judge adds the verdict on one outbox.
func (r *Record) judge(e *Evidence) {
	b := r.bounds(e)
	v := relaytest.Judge(e.Evidence, b)
	r.Outboxes = append(r.Outboxes, Judged{e.Name, v, b, e.Epochs, e.PerSec, e.Drained})
	bad := func(format string, args ...any) {
		r.Violations = append(r.Violations, e.Name+": "+fmt.Sprintf(format, args...))
	}
	for _, f := range v.Flaws {
		bad("%s", f)
	}
	if !v.Green() {
		bad("%s", &v)
	}
	for _, text := range first(e.Fences, 5) {
		bad("I10 fence: %s", text)
	}
	for _, text := range first(e.Outages, 5) {
		bad("I12 an outage spent attempts: %s", text)
	}
	for _, text := range first(e.Crashes, 5) {
		bad("a relay ended by itself: %s", text)
	}
	if e.Stalled {
		bad("I11 liveness: everything was healthy and nothing moved for %s, with %d messages pending and %d held", stallTime, e.Rows.Pending, e.Rows.Held)
	} else if !e.Drained {
		r.Void = append(r.Void, e.Name+": the drain was not finished")
	}
	if sum := e.Rows.Sent + e.Rows.Pending + e.Rows.Held + e.Rows.Discarded; sum != int64(len(e.Committed)) || e.Rows.Log != int64(len(e.Committed)) {
		bad("I12 accounting: %d messages by the oracle, %d rows, %+v", len(e.Committed), e.Rows.Log, e.Rows)
	}
	committed := map[string]bool{}
	for _, f := range e.Committed {
		committed[f.Token] = true
	}
	for token, heard := range e.Heard {
		switch {
		case heard == "ok" && !committed[token]:
			bad("the database lost %s, whose synchronous commit it had confirmed", token)
		case heard == "failed" && committed[token]:
			r.Void = append(r.Void, e.Name+": "+token+" was committed although its producer heard of a failure: the oracle is wrong")
		}
	}
}

func first(texts []string, n int) []string { return texts[:min(n, len(texts))] }

// decide looks at the run as a whole.
func (r *Record) decide() {
	if r.Heads > 0 {
		r.Violations = append(r.Violations, fmt.Sprintf("servers: I9 lifecycle: message_held_head refused a second retrying message of a key %d times", r.Heads))
	}
	rate := 0.0
	for _, o := range r.Outboxes {
		rate += o.PerSec
	}
	if least := r.Plan.MinRate * float64(r.Plan.Outboxes); rate < least {
		r.Void = append(r.Void, fmt.Sprintf("%.0f messages a second before the first fault, at least %.0f are needed", rate, least))
	}
	effective, flying := 0, 0
	for _, f := range r.Faults {
		if f.Effect {
			effective++
		}
		if f.InFlight {
			flying++
		}
	}
	if effective < len(r.Faults) {
		r.Void = append(r.Void, fmt.Sprintf("%d of %d planned faults took effect", effective, len(r.Faults)))
	}
	if n := len(r.Faults); n > 0 && flying*10 < n*3 {
		r.Void = append(r.Void, fmt.Sprintf("messages were in flight at %d of %d faults, 30 %% are needed", flying, n))
	}
	switch {
	case len(r.Violations) > 0:
		r.Exit = ExitViolation
	case len(r.Void) > 0:
		r.Exit = ExitVoid
	}
}

// Summary is the record for a person.
func (r *Record) Summary() string {
	var b strings.Builder
	effective, flying := map[Kind]int{}, 0
	for _, f := range r.Faults {
		if f.Effect {
			effective[f.Kind]++
		}
		if f.InFlight {
			flying++
		}
	}
	total, bound := relaytest.Verdict{}, 0
	for _, o := range r.Outboxes {
		fmt.Fprintf(&b, "%s: owners %d, Q %d: %s\n", o.Name, o.Epochs, o.Bounds.Q, &o.Verdict)
		v := o.Verdict
		total.Written, total.Sent, total.Stored = total.Written+v.Written, total.Sent+v.Sent, total.Stored+v.Stored
		total.Lost, total.Phantom, total.OutOfOrder, total.Duplicates = total.Lost+v.Lost, total.Phantom+v.Phantom, total.OutOfOrder+v.OutOfOrder, total.Duplicates+v.Duplicates
		bound += o.Bounds.Q * o.Bounds.Rewinds
	}
	var kinds []string
	for kind, n := range effective {
		kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
	}
	slices.Sort(kinds)
	fmt.Fprintf(&b, "cycles %d (%s), %d with messages in flight, %s; written %d sent %d stored %d lost %d phantom %d out_of_order %d duplicates %d (bound for each key: Q × rewinds, up to %d)\n",
		len(r.Faults), strings.Join(kinds, ", "), flying, r.Took.Round(time.Second), total.Written, total.Sent, total.Stored, total.Lost, total.Phantom,
		total.OutOfOrder, total.Duplicates, bound/max(len(r.Outboxes), 1))
	for _, text := range r.Violations {
		fmt.Fprintln(&b, "violation:", text)
	}
	for _, text := range r.Void {
		fmt.Fprintln(&b, "void:", text)
	}
	fmt.Fprintf(&b, "%s\nverdict: %s\n", r.Plan.Replay(), [...]string{"green", "violation", "usage", "void", "checker failed"}[r.Exit])
	return b.String()
}

func (r *Record) save(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}

// Judge gives the verdict on a run again from its records, without any server.
func Judge(dir string) (Record, error) {
	var r Record
	raw, err := os.ReadFile(filepath.Join(dir, "run.json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("%s: %w", filepath.Join(dir, "run.json"), err)
	}
	r.Outboxes, r.Violations, r.Void, r.Exit = nil, nil, nil, ExitGreen
	files, err := filepath.Glob(filepath.Join(dir, "*.evidence.json.gz"))
	if err != nil || len(files) == 0 {
		return r, fmt.Errorf("no evidence in %s (%v)", dir, err)
	}
	for _, path := range files {
		e, err := load(path)
		if err != nil {
			return r, fmt.Errorf("%s: %w", path, err)
		}
		r.judge(&e)
	}
	r.decide()
	return r, nil
}
