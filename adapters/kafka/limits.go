package kafka

import (
	"context"
	"maps"
	"slices"
	"time"
)

// learnLimits reads max.message.bytes of pinned topics; what cannot be read stays as it was.
func (p *Publisher) learnLimits(ctx context.Context, names []string) {
	pins := *p.pins.Load()
	all, err := p.control.describe(ctx, names, []string{setMaxBytes})
	if err != nil {
		return
	}
	for name, s := range all {
		if n, ok := s.number(setMaxBytes); ok && pins[name] != nil && n > 2*batchSpare {
			pins[name].limit.Store(n)
		}
	}
}

// limitsWatch is when the limits were asked for; it belongs to the watcher.
type limitsWatch struct {
	all time.Time // of every topic
	met time.Time // of topics whose limit was met
}

// followLimits asks again for the limits of all topics every ten minutes, and at once for those that a batch was too large for.
func (p *Publisher) followLimits(last *limitsWatch) {
	pins := *p.pins.Load()
	now := time.Now()
	if now.Sub(last.all) >= p.limitsEvery {
		last.all = now
		p.learnLimits(p.calls.Context(), slices.Sorted(maps.Keys(pins)))
		return
	}
	if now.Sub(last.met) < limitsPause {
		return // the next batch that is too large asks again
	}
	var doubted []string
	for name, t := range pins {
		if t.doubt.Swap(false) {
			doubted = append(doubted, name)
		}
	}
	if len(doubted) > 0 {
		last.met = now
		p.learnLimits(p.calls.Context(), doubted)
	}
}
