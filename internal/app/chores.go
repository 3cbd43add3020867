package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/telemetry"
	"github.com/waybillmq/waybill/relay"
)

// How often the chores run.
const (
	registerEvery = 5 * time.Second
	scanEvery     = time.Minute
	keepEvery     = 5 * time.Minute
	checkEvery    = 10 * time.Minute
	countEvery    = 15 * time.Second
	examineEvery  = time.Minute
	rememberEvery = 10 * time.Second
	oldWriter     = time.Minute // a writer's transaction older than this is worth a line: it keeps holes open
)

// chores are what runs by the clock beside the engine: registration, the fallback scan, partitions and retention, the brokers' settings. All but the
// registration are the owner's.
type chores struct {
	e       *engine
	look    *postgres.Inspector // for counts
	tel     *telemetry.Telemetry
	log     *slog.Logger
	version string
	started time.Time
	ctx     context.Context
	cancel  context.CancelFunc
	cron    gocron.Scheduler
	setUp   setUp         // owned by the set-up chore
	alerter *alerter      // nil = no webhook
	risks   risks         // owned by the counts chore
	running sync.Map      // name → struct{}: gocron's own singleton mode has let runs overlap
	acted   atomic.Int64  // the last row of the activity log that the metrics know; below 0 = none yet
	opened  chan struct{} // one slot: the settings of a broker that was opened are to be read
	wg      sync.WaitGroup
}

// chore is something that runs by the clock.
type chore struct {
	name  string
	every time.Duration
	owner bool // only while this relay owns the outbox
	do    func(context.Context) error
}

func startChores(e *engine, tel *telemetry.Telemetry, log *slog.Logger, version string) (*chores, error) {
	cron, err := gocron.NewScheduler(gocron.WithStopTimeout(5 * time.Second))
	if err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	people, err := peopleDatabase(e.config)
	if err != nil {
		return nil, err
	}
	look, err := postgres.OpenInspector(people)
	if err != nil {
		return nil, err
	}
	c := &chores{e: e, look: look, tel: tel, log: log, version: version, started: time.Now(), cron: cron, opened: make(chan struct{}, 1)}
	if c.alerter, err = newAlerter(e, look, tel, log); err != nil {
		look.Close()
		return nil, err
	}
	c.acted.Store(-1)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	jobs := []chore{
		{"register", registerEvery, false, c.register},
		{"fallback scan", scanEvery, true, c.scan},
		{"partitions and retention", keepEvery, true, c.keep},
		{"broker settings", checkEvery, true, c.brokers},
		{"counts", countEvery, true, c.count},
		{"set-up", examineEvery, true, c.examine},
		{"pauses", registerEvery, true, c.endPauses},
	}
	if e.cache != nil {
		jobs = append(jobs, chore{"remember", rememberEvery, true, func(context.Context) error { e.cache.note(e.store.Known()); return nil }})
	}
	if c.alerter != nil {
		jobs = append(jobs, chore{"alerts", alertEvery, false, c.alerter.look})
	}
	for _, job := range jobs {
		run := gocron.NewTask(unrecovered(func() { c.run(job.name, job.owner, job.do) }))
		if _, err := cron.NewJob(gocron.DurationJob(job.every), run, gocron.WithName(job.name), gocron.WithStartAt(gocron.WithStartImmediately())); err != nil {
			return nil, fmt.Errorf("schedule %s: %w", job.name, err)
		}
	}
	e.onOpen = func() {
		select {
		case c.opened <- struct{}{}:
		default:
		}
	}
	c.wg.Go(c.afterOpen)
	c.wg.Go(c.operate)
	if c.alerter != nil {
		c.wg.Go(func() { c.alerter.sender.Run(c.ctx) })
	}
	cron.Start()
	return c, nil
}

// unrecovered runs do where gocron, which would swallow its panic, does not see it: whatever panics ends the process.
func unrecovered(do func()) func() {
	return func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			do()
		}()
		<-done
	}
}

// run runs one chore unless it still runs, or is the owner's and this relay is not.
func (c *chores) run(name string, owner bool, do func(context.Context) error) {
	if owner && !c.e.relay.Status().Owner || c.ctx.Err() != nil {
		return
	}
	if _, busy := c.running.LoadOrStore(name, struct{}{}); busy {
		return
	}
	defer c.running.Delete(name)
	c.wg.Add(1)
	defer c.wg.Done()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	if err := do(ctx); err != nil && c.ctx.Err() == nil {
		c.log.Warn("a chore failed and runs again later", "op", name, "err", err)
	}
}

// stop ends the scheduler and waits for what runs.
func (c *chores) stop() {
	c.cancel()
	if err := c.cron.Shutdown(); err != nil {
		c.log.Warn("the scheduler did not stop in time", "err", err)
	}
	c.wg.Wait()
	c.look.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := c.e.store.Unregister(ctx, c.e.instance); err != nil {
		c.log.Warn("could not unregister", "err", err)
	}
}

// owned begins the owner's chores at once instead of at their next turn.
func (c *chores) owned() {
	c.acted.Store(-1) // what was done meanwhile, the owner before has counted
	c.wg.Go(func() {
		c.run("partitions and retention", true, c.keep)
		c.run("counts", true, c.count)
		c.run("set-up", true, c.examine)
		if c.alerter != nil {
			c.run("alerts", true, c.alerter.look)
		}
	})
}

// afterOpen reads a broker's settings as soon as it is opened: before, there is none to ask, and applications are to know its size limits from the start.
func (c *chores) afterOpen() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.opened:
			c.run("broker settings", true, c.brokers)
		}
	}
}

func (c *chores) register(ctx context.Context) error {
	checks, err := json.Marshal(map[string]any{"destinations": destinationStates(c.e.relay.Status()), "findings": c.e.findings()})
	if err != nil {
		return err
	}
	return c.e.store.Register(ctx, postgres.Registration{Instance: c.e.instance, StartedAt: c.started, Version: c.version, Address: c.e.config.Metrics.Listen, Checks: checks})
}

// scan is the fallback: pending ids at or below the low-water mark should not exist. They are read again, and said loudly.
func (c *chores) scan(ctx context.Context) error {
	st := c.e.relay.Status()
	late, err := c.e.store.LateRows(ctx, st.LowWater)
	if err != nil {
		return err
	}
	if len(late) > 0 && c.e.relay.Status().Epoch == st.Epoch {
		c.log.Error("pending messages lie behind the low-water mark: somebody wrote ids by hand, disabled the id's default or set the sequence back; they are read again",
			"count", len(late), "id", late[0])
		c.tel.Late(len(late))
		c.e.relay.Rescan()
	}
	if st.Holes > 0 && time.Since(st.OldestHole) > oldWriter {
		return c.blameHoles(ctx, st)
	}
	return nil
}

func (c *chores) blameHoles(ctx context.Context, st relay.Status) error {
	holders, err := c.e.store.Holders(ctx, oldWriter)
	for _, h := range holders {
		c.log.Warn("an open transaction keeps ids undecided; messages go on, partitions cannot be dropped", "pid", h.PID, "gid", h.GID, "database", h.Database,
			"user", h.User, "state", h.State, "age", h.Age.Round(time.Second), "holes", st.Holes)
	}
	return err
}

func (c *chores) keep(ctx context.Context) error {
	keep, ends := c.e.config.Retention.Sent.Get()
	span := keep
	if !ends {
		span = 30 * 24 * time.Hour
	}
	swept := errors.Join(c.e.store.SweepOperations(ctx, operationsKeep), c.e.store.SweepOnce(ctx))
	ahead, err := c.e.store.AddPartitions(ctx, span)
	if err == nil && ahead < 1 {
		c.log.Warn("no partition lies ahead: an open transaction that has read the log, such as a dump, is in the way; messages go to the default partition meanwhile")
	}
	if !ends {
		return errors.Join(err, swept)
	}
	dropped, dropErr := c.e.store.Retain(ctx, keep)
	c.tel.PartitionsDropped(len(dropped))
	if len(dropped) > 0 {
		c.log.Info("dropped partitions of sent messages", "count", len(dropped))
	}
	return errors.Join(err, dropErr, swept)
}

// count feeds the metrics that only the database knows, and says what is unsafe among the brokers' settings that were read last.
func (c *chores) count(ctx context.Context) error {
	c.e.warnRisks(c.log, &c.risks) // a topic that nothing was sent to when its settings were read may be in use by now
	o, err := c.look.Overview(ctx)
	if err != nil {
		return err
	}
	held, err := c.look.HeldByDestination(ctx)
	if err != nil {
		return err
	}
	m, err := c.e.store.Measure(ctx, c.e.config.Relay.StuckAfter, c.acted.Load())
	if err != nil {
		return err
	}
	counts := telemetry.Counts{At: o.Now, Pending: o.Pending, Backlog: int64(o.Pending), OldestAt: o.OldestAt, TooOld: m.TooOld, FirstAt: m.FirstAt, Held: held,
		Ahead: m.Ahead, Relays: len(o.Relays), OldestTx: m.OldestTx}
	if o.Pending.Capped() {
		counts.Backlog = int64(o.LastID - o.LowWater)
	}
	for _, t := range m.Tables {
		counts.Tables = append(counts.Tables, telemetry.Table(t))
	}
	for _, n := range m.Sessions {
		counts.Sessions = append(counts.Sessions, telemetry.Sessions(n))
	}
	c.tel.SetCounts(counts)
	for _, a := range m.Acts {
		c.tel.Acted(a.Action, a.Via, a.N)
	}
	c.acted.Store(m.LastActivity)
	return nil
}
