package checker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/internal/kp"
)

// Fault is one line of the fault log.
type Fault struct {
	N        int           `json:"n"`
	Kind     Kind          `json:"kind"`
	Outbox   string        `json:"outbox,omitempty"` // empty = of a server alone, which all share
	Point    kp.Point      `json:"point,omitempty"`
	Pass     int           `json:"pass,omitempty"`
	Harm     Harm          `json:"harm,omitempty"`
	Dead     bool          `json:"dead,omitempty"` // the relay is, while its cache is harmed
	Link     Link          `json:"link,omitempty"`
	Pause    time.Duration `json:"pause"` // before it
	At       time.Time     `json:"at"`
	Effect   bool          `json:"effect"` // it took effect, and Proof says how that is known
	Proof    string        `json:"proof"`
	InFlight bool          `json:"in_flight"` // messages were claimed and not settled at that moment
	Healed   time.Duration `json:"healed"`    // until something was settled again; 0 = never
}

// where says at which point, or in which manner, it happens.
func (f *Fault) where() string {
	if f.Harm != "" {
		return manner{f.Harm, f.Dead}.String()
	}
	if f.Link != "" {
		return string(f.Link)
	}
	return string(f.Point)
}

func (k Kind) server() bool {
	return slices.Contains([]Kind{KillPostgres, KillKafka, BothDown, KafkaAway, LaneTimeout, HarmCache}, k)
}

// faults draws the faults of a run from its seed.
func (p *Plan) faults() []Fault {
	r := rand.New(rand.NewPCG(p.Seed, 0xfa017))
	var kinds []Kind
	for _, kind := range slices.Sorted(maps.Keys(p.Kinds)) {
		for range p.Kinds[kind] {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		return nil
	}
	all, points, harms, cuts := make([]Fault, p.Cycles), 0, 0, 0
	for i := range all {
		f := Fault{N: i + 1, Kind: kinds[r.IntN(len(kinds))], Pause: time.Duration(r.Int64N(int64(500 * time.Millisecond)))}
		if f.Kind == KillPoint { // one after the other, so that every point has its turn
			f.Point, f.Pass = kp.Points[points%len(kp.Points)], 1+r.IntN(4)
			points++
			if slices.Contains([]kp.Point{kp.Acquired, kp.Stopping, kp.HeldSettled, kp.HeldTaken}, f.Point) {
				f.Pass = 1
			}
		}
		if f.Kind == HarmCache { // likewise
			f.Harm, f.Dead = manners[harms%len(manners)].harm, manners[harms%len(manners)].dead
			harms++
		}
		if f.Kind == Partition {
			f.Link = links[cuts%len(links)]
			cuts++
		}
		if !f.Kind.server() || f.Kind == HarmCache {
			f.Outbox = fmt.Sprintf("ob%d", 1+i%p.Outboxes)
		}
		all[i] = f
	}
	return all
}

const healTime = 45 * time.Second

// execute makes one fault happen and waits until messages are settled again.
func (w *world) execute(ctx context.Context, f *Fault) {
	err := ctx.Err()
	if wait(ctx, f.Pause) {
		f.At = time.Now()
		if f.Kind.server() {
			err = w.serverFault(ctx, f)
		} else {
			err = w.relayFault(ctx, f)
		}
	}
	if err != nil {
		f.Proof += " (" + err.Error() + ")"
	}
}

func (w *world) find(name string) *outboxRun {
	return w.outs[slices.IndexFunc(w.outs, func(o *outboxRun) bool { return o.name == name })]
}

// owner waits for an owner that lives and returns its slot and epoch.
func (o *outboxRun) owner(ctx context.Context) (s *slot, epoch int64, err error) {
	for end := time.Now().Add(healTime); time.Now().Before(end) && wait(ctx, 10*time.Millisecond); {
		var instance string
		err = o.ask(ctx, `SELECT owner, epoch FROM outbox.owner WHERE lease_until > clock_timestamp()`, nil, &instance, &epoch)
		if err == nil {
			if s = o.relays.find(instance); s != nil {
				return s, epoch, nil
			}
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return nil, 0, err
		}
	}
	return nil, 0, fmt.Errorf("nobody owned %s for %s", o.name, healTime)
}

// inFlight says whether something was claimed and is not settled.
func (o *outboxRun) inFlight(ctx context.Context) (yes bool) {
	_ = o.ask(ctx, `SELECT EXISTS (SELECT FROM outbox.message_pending WHERE id <= (SELECT last_value FROM outbox.claimed))`, nil, &yes)
	return yes
}

// aim stops an owner at a moment with messages in flight: while there are none it lets the owner go on and tries again, for as long as patience. The owner stands
// still while it asks, because asking can take longer than a settlement.
func (o *outboxRun) aim(ctx context.Context, patience time.Duration, stop, goOn func() error) (inFlight bool, err error) {
	for end := time.Now().Add(patience); ; {
		if err := stop(); err != nil {
			return false, err
		}
		if inFlight = o.inFlight(ctx); inFlight || !time.Now().Before(end) {
			return inFlight, nil
		}
		if err := goOn(); err != nil || !wait(ctx, 2*time.Millisecond) {
			return false, errors.Join(err, ctx.Err())
		}
	}
}

// heal waits until something is settled by a later epoch than after, or when that is 0, from now on.
func (o *outboxRun) heal(ctx context.Context, f *Fault, after int64) error {
	began := time.Now()
	for time.Since(began) < healTime && wait(ctx, 20*time.Millisecond) {
		var done bool
		if after > 0 {
			_ = o.ask(ctx, `SELECT coalesce(max(epoch), 0) > $1 FROM outbox.receipts`, []any{after}, &done)
		} else {
			_ = o.ask(ctx, `SELECT coalesce(max(acked_at) > $1, false) FROM outbox.receipts`, []any{began}, &done)
		}
		if done {
			f.Healed = max(f.Healed, time.Since(f.At))
			return nil
		}
	}
	return fmt.Errorf("%s: nothing was settled for %s", o.name, time.Since(began).Round(time.Second))
}

func (w *world) relayFault(ctx context.Context, f *Fault) error {
	o := w.find(f.Outbox)
	o.turn.Lock()
	defer o.turn.Unlock()
	s, epoch, err := o.owner(ctx)
	if err != nil {
		return err
	}
	if f.Kind == KillPoint {
		f.At = time.Now()
		return w.killPoint(ctx, f, o, s)
	}
	stop, goOn := signaller(o.relays, s, syscall.SIGSTOP), signaller(o.relays, s, syscall.SIGCONT)
	if f.Kind == Partition {
		stop, goOn = s.cut(f.Link)
	}
	patience := 2 * time.Second
	if f.N%4 == 0 { // any moment: owners that rest are stopped too
		patience = 0
	}
	if f.InFlight, err = o.aim(ctx, patience, stop, goOn); err != nil {
		return err
	}
	f.At = time.Now()
	switch f.Kind {
	case Partition:
		f.Proof = fmt.Sprintf("epoch %d was cut off (%s) until a later one had settled", epoch, f.Link)
	case PauseOwner:
		f.Proof = fmt.Sprintf("epoch %d stood still until a later one had settled", epoch)
	default:
		return w.kill(ctx, f, o, s, epoch)
	}
	err = errors.Join(o.heal(ctx, f, epoch), goOn()) // it comes back as a zombie
	f.Effect = err == nil
	return err
}

func signaller(r *relays, s *slot, sig syscall.Signal) func() error {
	return func() error { _, err := r.signal(s, sig); return err }
}

// kill kills the owner, which stands still, or all.
func (w *world) kill(ctx context.Context, f *Fault, o *outboxRun, s *slot, epoch int64) error {
	targets := []*slot{s}
	if f.Kind == KillAll {
		targets = o.relays.slots
	}
	for _, t := range targets {
		ended, err := o.relays.signal(t, syscall.SIGKILL)
		if err != nil {
			return err
		}
		<-ended
	}
	f.Effect, f.Proof = true, fmt.Sprintf("epoch %d ended by SIGKILL", epoch)
	return o.heal(ctx, f, epoch)
}

// killPoint restarts a relay armed, makes it the owner by killing the others, and waits until it has reached its point.
func (w *world) killPoint(ctx context.Context, f *Fault, o *outboxRun, s *slot) error {
	before := o.relays.deaths(s)
	o.relays.arm(s, f.Point, f.Pass)
	ended, err := o.relays.signal(s, syscall.SIGTERM) // a clean hand-over, to be followed by a take-over
	if err != nil {
		return err
	}
	<-ended
	for began := time.Now(); time.Since(began) < healTime && wait(ctx, 10*time.Millisecond); {
		if o.relays.deaths(s) > before {
			f.Effect, f.Proof = true, fmt.Sprintf("pass %d reached, ended by SIGKILL", f.Pass)
			f.InFlight = o.inFlight(ctx)
			return o.heal(ctx, f, 0)
		}
		if err := w.push(ctx, f, o, s); err != nil {
			return err
		}
	}
	return fmt.Errorf("point %s:%d was not reached", f.Point, f.Pass)
}

// push brings the armed relay nearer to its point: whoever else owns the outbox is killed, and for the point of stopping it is asked to stop.
func (w *world) push(ctx context.Context, f *Fault, o *outboxRun, s *slot) error {
	var instance string
	if o.ask(ctx, `SELECT owner FROM outbox.owner WHERE lease_until > clock_timestamp()`, nil, &instance) != nil {
		return nil // nobody just now
	}
	switch owner := o.relays.find(instance); {
	case owner == nil:
		return nil
	case owner == s && f.Point == kp.Stopping:
		return o.relays.stopOnce(s, f.Point)
	case owner != s:
		ended, err := o.relays.signal(owner, syscall.SIGKILL)
		if err != nil {
			return err
		}
		<-ended
	}
	return nil
}

func (w *world) serverFault(ctx context.Context, f *Fault) error {
	for _, o := range w.outs {
		f.InFlight = o.inFlight(ctx) || f.InFlight
	}
	f.At = time.Now()
	var err error
	switch f.Kind {
	case KillPostgres, BothDown:
		err = w.killPostgres(ctx, f)
	case KillKafka:
		err = w.killKafka(ctx, f, f.Pause)
	case KafkaAway:
		err = w.killKafka(ctx, f, 15*time.Second)
	case LaneTimeout:
		err = w.laneTimeout(ctx, f)
	case HarmCache:
		err = w.harmCache(ctx, f)
	}
	if err != nil {
		return err
	}
	for _, o := range w.outs {
		if err := o.heal(ctx, f, 0); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) killPostgres(ctx context.Context, f *Fault) error {
	pid := w.pg.PID()
	if f.Kind == BothDown {
		for _, o := range w.outs {
			if s, _, err := o.owner(ctx); err == nil {
				_, _ = o.relays.signal(s, syscall.SIGKILL)
			}
		}
	}
	if err := w.pg.Kill9(); err != nil {
		return err
	}
	if err := w.pg.Start(); err != nil {
		return err
	}
	f.Effect, f.Proof = w.pg.PID() != pid, fmt.Sprintf("postmaster %d became %d", pid, w.pg.PID())
	for _, o := range w.outs {
		f.InFlight = o.inFlight(ctx) || f.InFlight
	}
	return nil
}

func (w *world) killKafka(ctx context.Context, f *Fault, away time.Duration) error {
	pid := w.broker.real.PID(1)
	if err := w.broker.real.Kill(); err != nil {
		return err
	}
	for _, o := range w.outs {
		f.InFlight = o.inFlight(ctx) || f.InFlight
	}
	wait(ctx, away)
	if err := w.broker.real.Start(); err != nil {
		return err
	}
	f.Effect, f.Proof = w.broker.real.PID(1) != pid, fmt.Sprintf("broker %d became %d", pid, w.broker.real.PID(1))
	return nil
}

// laneTimeout makes one partition answer "timed out" while the others go on.
func (w *world) laneTimeout(ctx context.Context, f *Fault) error {
	fault := w.broker.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Partitions: []int32{0}, Err: kerr.RequestTimedOut, Count: -1})
	wait(ctx, 8*time.Second)
	hits := fault.Hits()
	fault.Remove()
	f.Effect, f.Proof = hits > 0, fmt.Sprintf("%d answers of partition 0 were \"timed out\"", hits)
	return nil
}
