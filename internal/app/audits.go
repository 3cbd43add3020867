package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// What an audit may take.
const (
	auditLimit = time.Minute      // of reading; what was not read by then is not judged
	auditStale = 2 * auditLimit   // an audit that has not ended by then never will: its relay has gone
	auditRate  = 20 << 20         // bytes a second, of database and brokers
	auditsKept = 20               // ended ones that are shown
	auditFresh = 5 * time.Second  // what other relays have audited is asked for again so often
	auditWrite = 10 * time.Second // to write down the result
	auditHurry = time.Second
)

// audits runs comparisons of what was written, sent and stored, one at a time, for the pages and the API. It implements dashboard.Auditor.
type audits struct {
	config  *config.Config
	db      *postgres.Auditor
	router  *relay.Router
	log     *slog.Logger
	bundled atomic.Pointer[waybillbroker.Reader] // nil = it does not run here, or not yet
	slow    time.Duration                        // a test's: how long each rest lasts at least

	work context.Context // ends with the relay
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	begins  bool       // one is being written down, and runs then
	running *audit.Run // nil = none
	ended   []audit.Run
	askedAt time.Time
	bounds  auditBounds
}

// auditBounds are the ids that could be compared at a moment.
type auditBounds struct {
	lo, hi relay.ID
	at     time.Time
}

// openAudits prepares the connections; they are made when they are first needed.
func openAudits(c *config.Config, log *slog.Logger) (*audits, error) {
	cfg, err := peopleDatabase(c)
	if err != nil {
		return nil, err
	}
	router, err := relay.NewRouter(relayRoutes(c))
	if err != nil {
		return nil, err
	}
	db, err := postgres.OpenAuditor(cfg)
	if err != nil {
		return nil, err
	}
	a := &audits{config: c, db: db, router: router, log: log}
	a.work, a.stop = context.WithCancel(context.Background())
	return a, nil
}

// readFrom says where the bundled broker of this process is read back from; nil = there is none.
func (a *audits) readFrom(b waybillbroker.Broker) {
	if r, ok := b.(waybillbroker.Reader); ok {
		a.bundled.Store(&r)
	}
}

// close ends what runs, which then has no result but that.
func (a *audits) close() {
	a.stop()
	a.done.Wait()
	a.db.Close()
}

// Bounds implements dashboard.Auditor.
func (a *audits) Bounds(ctx context.Context) (lo, hi relay.ID, err error) {
	a.mu.Lock()
	last := a.bounds
	a.mu.Unlock()
	if time.Since(last.at) < auditFresh {
		return last.lo, last.hi, nil
	}
	lo, hi, err = a.db.Bounds(ctx, audit.Lag)
	if err == nil {
		a.mu.Lock()
		a.bounds = auditBounds{lo, hi, time.Now()}
		a.mu.Unlock()
	}
	return lo, hi, err
}

// Begin implements dashboard.Auditor.
func (a *audits) Begin(ctx context.Context, from, to relay.ID, act relay.Act) (audit.Run, error) {
	a.mu.Lock()
	taken := a.begins || a.running != nil || a.work.Err() != nil
	a.begins = a.begins || !taken
	a.mu.Unlock()
	if taken {
		return audit.Run{}, &relay.StateError{Text: "an audit runs already, and one runs at a time; look again when it has ended"}
	}
	id, at, err := a.db.Begin(ctx, from, to, auditStale, act) // without the lock: pages ask what runs
	a.mu.Lock()
	defer a.mu.Unlock()
	a.begins = false
	if err != nil {
		return audit.Run{}, err
	}
	run := &audit.Run{ID: id, From: int64(from), To: int64(to), Actor: act.Actor, Reason: act.Reason, BeganAt: at}
	a.running = run
	a.done.Go(func() { a.run(*run, act) })
	return *run, nil
}

// run compares, writes down what it came to, and lets the next one begin.
func (a *audits) run(run audit.Run, act relay.Act) {
	ctx, cancel := context.WithTimeout(a.work, auditLimit)
	defer cancel()
	c := comparison{audits: a, ctx: ctx, run: &run, pace: pacer{rate: auditRate, at: time.Now()}}
	if err := c.compare(); err != nil {
		run.Failure = auditFailure(a.work, err)
	}
	run.EndedAt = time.Now().UTC()
	whole, err := json.Marshal(run)
	if err == nil {
		limit := auditWrite
		if a.work.Err() != nil { // who waits for the end of the relay waits for this too
			limit = auditHurry
		}
		write, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		err = a.db.End(write, relay.ID(run.From), relay.ID(run.To), act, run.Line(), whole)
		cancel()
	}
	if err != nil {
		a.log.Warn("the result of an audit could not be written down and is forgotten when this relay ends", "audit", run.ID, "err", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running = nil
	a.ended = slices.Insert(a.ended, 0, run)
}

// auditFailure is why there is no result, in a sentence.
func auditFailure(work context.Context, err error) string {
	switch {
	case work.Err() != nil:
		return "whoever ran it ended in between"
	case errors.Is(err, context.DeadlineExceeded):
		return "the rows and receipts could not be read within " + auditLimit.String() + "; take fewer ids, or another hour"
	}
	return err.Error()
}

// progress is what people see of the run while it goes on.
func (a *audits) progress(rows, records int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running != nil {
		next := *a.running
		next.Rows, next.Records = rows, records
		a.running = &next
	}
}

// Running implements dashboard.Auditor.
func (a *audits) Running() *audit.Run {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.running
}

// Ended implements dashboard.Auditor.
func (a *audits) Ended(ctx context.Context) ([]audit.Run, error) {
	a.mu.Lock()
	fresh, known := time.Since(a.askedAt) < auditFresh, slices.Clone(a.ended)
	a.mu.Unlock()
	if fresh {
		return known, nil
	}
	rows, err := a.db.Ended(ctx, auditsKept)
	if err != nil {
		return known, err
	}
	var found []audit.Run
	for _, row := range rows {
		var run audit.Run
		if json.Unmarshal(row, &run) == nil { // one of another version may be in another form: then there is nothing to show
			found = append(found, run)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, run := range a.ended { // one whose result could not be written down
		if !slices.ContainsFunc(found, func(f audit.Run) bool { return f.ID == run.ID }) {
			found = append(found, run)
		}
	}
	slices.SortFunc(found, func(x, y audit.Run) int { return int(y.ID - x.ID) })
	a.ended, a.askedAt = found[:min(len(found), auditsKept)], time.Now()
	return slices.Clone(a.ended), nil
}
