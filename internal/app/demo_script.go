package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// scriptLimit bounds the whole story. With it and the proof a demonstration ends within a minute of its start.
const scriptLimit = 55 * time.Second

// script plays the person of a demonstration: it breaks, looks at what the product reports, and fixes. A fault that does not show, or does not go away, is an
// error.
type script struct {
	order func(ctx context.Context, order string) error
	look  func(ctx context.Context) (sight, error)
	out   io.Writer
}

// sight is what the status says at one moment.
type sight struct {
	Answer
	relay.Overview
	Broker    relay.DestinationStatus // of the demonstration's destination
	Operation relay.Operation         // the newest; zero = there was none
}

// scene is one step: what is done, and what is then to be seen.
type scene struct {
	order  string // as a person types it behind `waybill demo`; empty = nothing is done
	did    string
	awaits string
	seen   func(*sight) bool
	tells  func(*sight) string
}

// scenes are the story of an outage, and of messages that a broker refuses.
var scenes = []scene{
	{did: "shop, relay and broker run", awaits: "messages are sent and nothing is wrong",
		seen: func(s *sight) bool {
			return s.Verdict == WhyOK && s.Broker.State == relay.DestinationClosed && s.LowWater > 0
		},
		tells: func(s *sight) string {
			return fmt.Sprintf("status ok, owner of epoch %d, %s pending", s.Epoch, s.Pending)
		}},
	{order: "break broker", did: "broker stopped", awaits: "the status says that the broker is away, and since when, and no message has lost an attempt",
		seen: func(s *sight) bool {
			return s.Verdict == WhyBreakerOpen && !s.Since.IsZero() && s.Held[relay.Retrying]+s.Held[relay.Dead] == 0
		},
		tells: func(s *sight) string {
			return fmt.Sprintf("breaker open since %s, 0 attempts spent, %s pending", s.Since.Local().Format(time.TimeOnly), s.Pending)
		}},
	{did: "the shop goes on", awaits: "messages wait in the degraded cache", seen: func(s *sight) bool { return s.Broker.Cached >= scriptCached },
		tells: func(s *sight) string { return fmt.Sprintf("degraded cache fills: %d messages", s.Broker.Cached) }},
	{order: "fix broker", did: "broker back", awaits: "the cache is empty and nothing is wrong",
		seen: func(s *sight) bool {
			return s.Verdict == WhyOK && s.Broker.State == relay.DestinationClosed && s.Broker.Cached == 0
		},
		tells: func(s *sight) string { return fmt.Sprintf("cache drained, status ok, %s pending", s.Pending) }},
	{order: "break message", did: "limit of " + demoTightTopic + " lowered", awaits: "the status names dead messages, and others wait behind them",
		seen: func(s *sight) bool {
			return s.Verdict == WhyDead && s.Held[relay.Dead] >= scriptDead && s.Held[relay.Blocked] > 0
		},
		tells: func(s *sight) string {
			return fmt.Sprintf("%s dead, %s keys closed, %s messages behind them, everything else flows", s.Held[relay.Dead], s.Closed, s.Held[relay.Blocked])
		}},
	{order: "fix message retry", did: "limit restored, dead retried", awaits: "what died is sent, what waited has followed, and nothing is wrong",
		seen: func(s *sight) bool {
			return s.Verdict == WhyOK && s.Operation.State == relay.OperationDone && s.Held[relay.Dead]+s.Held[relay.Blocked]+s.Held[relay.Retrying]+s.Closed == 0
		},
		tells: func(s *sight) string {
			return fmt.Sprintf("operation %d: %d of %d sent, the others followed in key order, status ok", s.Operation.ID, s.Operation.Sent, s.Operation.Total)
		}},
}

// What has to show at least before the script goes on.
const (
	scriptCached = 10 // messages in the degraded cache
	scriptDead   = 3
)

func newScript(f *faults, out io.Writer) *script {
	quiet := func(string, ...any) {}
	return &script{out: out, look: f.look, order: func(ctx context.Context, order string) error { return f.obey(ctx, order, quiet) }}
}

// look asks as `waybill status` does.
func (f *faults) look(ctx context.Context) (s sight, err error) {
	snapshot := f.people.about(Question{})
	if snapshot.Database = f.people.gather(ctx, &snapshot); snapshot.Database == nil {
		s.Overview = *snapshot.Overview
		s.Broker, _ = s.Destination(f.broker.destination().Name)
	}
	s.Answer = Why(snapshot)
	if newest, err := f.people.Operations(ctx, 0, 1); err == nil && len(newest) > 0 {
		s.Operation = newest[0]
	}
	return s, snapshot.Database
}

// run plays all scenes, each within what the ones before left of the time.
func (s *script) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, scriptLimit)
	defer cancel()
	for i := range scenes {
		if err := s.play(ctx, &scenes[i]); err != nil {
			return fmt.Errorf("the script stopped: %w", err)
		}
	}
	return nil
}

func (s *script) play(ctx context.Context, c *scene) error {
	began := time.Now()
	if c.order != "" {
		if err := s.order(ctx, c.order); err != nil {
			return fmt.Errorf("%s: %w", c.order, err)
		}
	}
	seen, err := s.await(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "  %s  %-30s → %s\n", began.Format(time.TimeOnly), c.did, c.tells(&seen))
	return nil
}

// await looks until a scene is there. The error says what was expected, and what the status said last.
func (s *script) await(ctx context.Context, c *scene) (last sight, err error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := s.look(ctx)
		if err == nil && c.seen(&now) {
			return now, nil
		}
		if ctx.Err() == nil {
			last = now
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		if errors.Is(ctx.Err(), context.Canceled) {
			return last, fmt.Errorf("it was ended before %s", c.awaits)
		}
		return last, fmt.Errorf("after %q it did not come about in time that %s; the status says %s: %s", c.did, c.awaits, last.Verdict, strings.Join(slices.Concat(last.Evidence, last.Next), "; "))
	}
}
