package checker

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// huntTime is how long a planted bug may stay hidden.
const huntTime = 120 * time.Second

// trap is the run that brings a planted bug to light, and what it must be caught by.
type trap struct {
	set  func(*Plan)
	red  []string // one of these begins a violation, after the name of the outbox
	what string
}

func quiet(p *Plan) { p.Kinds, p.For, p.Load.LongTx = nil, 12*time.Second, 0.05 }

// asyncCrash makes claims take long while the server is killed under asynchronous commits: what was read is then not yet durable.
func asyncCrash(p *Plan) {
	p.Kinds, p.Cycles, p.For = map[Kind]int{KillPostgres: 1}, 8, 60*time.Second
	p.CommitDelay, p.WALDelay = true, 10*time.Second
	p.Settings = map[string]string{"commit_delay": "100000", "commit_siblings": "0", "wal_writer_flush_after": "2GB"}
	p.Tuning.Lease, p.Load.Async, p.Load.Poison = 15*time.Second, 1, 0 // nobody but the relay flushes, and it stays owner
}

func poisoned(p *Plan) {
	p.Kinds, p.For, p.NoActs, p.Load.Poison = nil, 12*time.Second, true, 0.03
}

var traps = map[kp.Bug]trap{
	kp.SettleBeforeAck: {func(p *Plan) {
		p.Kinds, p.Cycles, p.For = map[Kind]int{KillKafka: 1, KillOwner: 4}, 16, 60*time.Second
	}, []string{"I1", "I3"}, "killed brokers and relays"},
	kp.CursorIsLast: {quiet, []string{"I1", "I4", "I11"}, "late commits"},
	kp.ForgetHoles:  {quiet, []string{"I1", "I4", "I11"}, "late commits"},
	kp.NoClaim:      {asyncCrash, []string{"I2"}, "database crashes under asynchronous commits"},
	kp.NoFence: {func(p *Plan) { p.Kinds, p.Cycles, p.For = map[Kind]int{PauseOwner: 1}, 24, 70*time.Second },
		[]string{"I4", "I5", "I10"}, "owners that sleep past their lease"},
	kp.ClaimAnyIncarnation: {asyncCrash, []string{"I2"}, "database crashes under asynchronous commits"},
	kp.TwoHeads: {func(p *Plan) {
		p.Fake, p.Kinds, p.Cycles, p.For = true, map[Kind]int{LaneTimeout: 1}, 3, 50*time.Second
		p.Load.Poison, p.Load.Keys, p.Tuning.RetryInitial, p.Tuning.Lease = 0, 4, 500*time.Millisecond, 15*time.Second
	}, []string{"I4", "I9"}, "a partition that times out"},
	kp.NewMessageID: {func(p *Plan) { p.Kinds, p.Cycles, p.For = map[Kind]int{KillOwner: 1}, 12, 45*time.Second },
		[]string{"I7"}, "killed relays"},
	kp.WholeBatchAcked: {func(p *Plan) {
		poisoned(p)
		p.Load.Rate, p.Load.Keys, p.Load.Poison = 300, 20_000, 0.05 // many bulk inserts, so that refused messages share their batches with others
	}, []string{"I1", "I3"}, "poisoned messages"},
	kp.FailedToTail: {poisoned, []string{"I4"}, "poisoned messages"},
	kp.ChargeOutage: {func(p *Plan) {
		p.Kinds, p.Cycles, p.For, p.Load.Poison, p.Tuning.MaxAttempts = map[Kind]int{KafkaAway: 1}, 1, 60*time.Second, 0, 3
	}, []string{"I12"}, "a broker that is away"},
	kp.CacheSecondTruth: {func(p *Plan) {
		p.Kinds, p.Cycles, p.Outboxes, p.Load.Rate = map[Kind]int{HarmCache: 1}, 2, 1, 40 // what the first leaves is met by the second
		p.Tuning.Batch, p.Tuning.SettleBatches, p.Load.Keys = 10, 1, 10                   // a small Q, and keys that soon are beyond it
	}, []string{"I5", "I6"}, "harmed caches"},
}

// ChooseBugs returns the named bugs, or all, or n of them that change from day to day.
func ChooseBugs(names []string, all bool, n int, now time.Time) ([]kp.Bug, error) {
	have := kp.Bugs
	switch {
	case len(names) > 0:
		var chosen []kp.Bug
		for _, name := range names {
			if !slices.Contains(have, kp.Bug(name)) {
				return nil, fmt.Errorf("no planted bug %q; there are %v", name, have)
			}
			chosen = append(chosen, kp.Bug(name))
		}
		return chosen, nil
	case all:
		return have, nil
	case n < 1:
		return nil, fmt.Errorf("which bugs? --all, --rotate N or --only NAMES of %v", have)
	}
	first := int(now.Unix()/86400) * n % len(have)
	return slices.Concat(have[first:], have[:first])[:min(n, len(have))], nil
}

// Hunt runs the trap of a bug with that bug planted, and says whether the checker saw it in time. As a control nothing is planted, and caught says that the
// trap was red all the same.
func Hunt(ctx context.Context, bug kp.Bug, control bool, seed uint64, binary string, progress io.Writer) (caught bool, rec Record, err error) {
	trap := traps[bug]
	plan, err := NewPlan("mixed", seed)
	if err != nil {
		return false, rec, err
	}
	plan.Profile, plan.Bug, plan.Outboxes, plan.Load.Rate, plan.Load.Writers, plan.MinRate = string(bug), bug, 2, 80, 8, 20
	trap.set(&plan)
	if control {
		plan.Bug = ""
	}
	began := time.Now()
	if rec, err = Run(ctx, plan, binary, progress); err != nil {
		return false, rec, fmt.Errorf("%s: %w", bug, err)
	}
	took := time.Since(began)
	var by string
	for _, v := range rec.Violations {
		if _, text, _ := strings.Cut(v, ": "); slices.ContainsFunc(trap.red, func(id string) bool { return strings.HasPrefix(text, id+" ") }) {
			by = v
			break
		}
	}
	caught = by != "" && took <= huntTime
	if control {
		caught = len(rec.Violations) > 0
	}
	fmt.Fprintf(progress, "bug %-22s %-48s red %-5v after %s: %s\n", plan.Bug, trap.what, caught, took.Round(time.Second), by)
	return caught, rec, nil
}
