package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/relay"
)

// bulk are the flags of an act on everything that matches a filter.
type bulk struct {
	filter, stopAt string
	pace           relay.Pace
	detach         bool
}

func (b *bulk) flags(c *cobra.Command, name app.ActName) {
	b.pace = relay.DefaultPace()
	f := c.Flags()
	f.StringVar(&b.filter, "filter", "", "every message that matches, such as 'topic:order.* class:too_large age>1h'")
	f.BoolVar(&b.detach, "detach", false, "with --filter: do not wait for the end")
	f.IntVar(&b.pace.Rate, "rate", 0, "with --filter: most messages a second (default: as fast as delivery allows)")
	if name == app.ActRetry { // what is skipped or discarded cannot fail again
		f.BoolVar(&b.pace.Careful, "careful", true, "with --filter: 10 messages, then 100, then the rest")
		f.StringVar(&b.stopAt, "stop-at", "5%", "with --filter: stop when more than this share of a step fails again")
	}
}

// parse reads --filter, which stands alone; the zero Filter means that there is none.
func (b *bulk) parse(args []string) (relay.Filter, error) {
	f, err := relay.ParseFilter(b.filter)
	switch {
	case err != nil:
		return f, usage(err.Error())
	case len(f.Terms) > 0 && len(args) > 0:
		return f, usage("ids or --filter, not both")
	case len(f.Terms) == 0 && len(args) == 0:
		return f, usage("which messages? give ids, - for ids from standard input, or --filter")
	case b.pace.Rate < 0:
		return f, usage("--rate is a number of messages a second")
	}
	if b.stopAt != "" {
		percent, err := strconv.ParseFloat(strings.TrimSuffix(b.stopAt, "%"), 64)
		if err != nil || !strings.HasSuffix(b.stopAt, "%") || !(percent >= 0 && percent <= 100) {
			return f, usage("--stop-at is 0% to 100%")
		}
		b.pace.StopAt = percent / 100
	}
	return f, nil
}

func usualStates(name app.ActName) string {
	_, states := relay.Applies(string(name))
	return strings.Join(states, ", ")
}

// bulk makes the plan, shows it, asks, starts it, and waits for its end.
func (p *program) bulk(ctx context.Context, people *app.People, name app.ActName, f relay.Filter, b bulk, s consent) error {
	if _, err := relay.PlanFilter(string(name), f); err != nil {
		return usage(err.Error())
	}
	o, err := people.Plan(ctx, name, f, b.filter)
	if err != nil {
		return err
	}
	show := func(w io.Writer) { writePlan(w, name, o) }
	switch {
	case o.Total == 0:
		if o.LeftOut > 0 {
			p.note("%d messages match, and %s applies to none of them as they are now", o.LeftOut, name)
		} else {
			p.note("no message is meant, nothing to do")
		}
		return p.withdraw(ctx, people, o, nil)
	case s.dryRun:
		show(p.err)
		return p.withdraw(ctx, people, o, p.printOperation(o, "dry run: nothing was changed"))
	}
	if err := p.confirm(s.yes, false, show); err != nil {
		return p.withdraw(ctx, people, o, err)
	}
	owned, err := people.StartPlan(ctx, o.ID, b.pace, s.reason)
	if err != nil {
		return err
	}
	if !owned {
		p.note("no relay owns this outbox now: operation %d begins when one does", o.ID)
	}
	if b.detach {
		if o, err = people.Operation(ctx, o.ID); err != nil {
			return err
		}
		return p.printOperation(o, fmt.Sprintf("operation %d runs; look at it with: waybill operation get %d", o.ID, o.ID))
	}
	return p.watch(ctx, people, o.ID)
}

// withdraw takes back a plan that will not be started, also when there is no time left.
func (p *program) withdraw(ctx context.Context, people *app.People, o relay.Operation, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, people.Withdraw(ctx, o.ID))
}

func writePlan(w io.Writer, name app.ActName, o relay.Operation) {
	fmt.Fprintf(w, "PLAN %s: %d of %d messages (operation %d)\n", name, o.Total, o.Total+o.LeftOut, o.ID)
	for _, state := range []string{"dead", "retrying", "blocked", "scheduled", "discarded"} {
		if n := o.Summary.States[state]; n > 0 {
			fmt.Fprintf(w, "  %-10s %d\n", state, n)
		}
	}
	for _, d := range o.Summary.Destinations {
		fmt.Fprintf(w, "  to %s: %d\n", clean(orAnew(d.Name)), d.Count)
	}
	for _, f := range o.Summary.Failures {
		fmt.Fprintf(w, "  %d × %s at %s: %s\n", f.Count, clean(orNone(f.Class)), clean(orAnew(f.Destination)), clean(f.Error))
	}
	if more := o.Summary.Causes - len(o.Summary.Failures); more > 0 {
		fmt.Fprintf(w, "  and %d other causes\n", more)
	}
	for _, line := range planEffects(name, o) {
		fmt.Fprintf(w, "  %s\n", line)
	}
	if o.LeftOut > 0 {
		fmt.Fprintf(w, "  %d more match and are left out: %s does not apply to them, or they are being sent\n", o.LeftOut, name)
	}
}

// planEffects says what starting a plan does.
func planEffects(name app.ActName, o relay.Operation) []string {
	lines := []string{actEffect[name]}
	if s := o.Summary; s.Keys > 0 {
		lines = append(lines, fmt.Sprintf("They hold %d keys closed, in which %d other messages wait.", s.Keys, s.Behind))
	}
	if name == app.ActRetry && o.Summary.Unknown > 0 {
		lines = append(lines, fmt.Sprintf("The last attempt of %d had no answer: they may lie at the broker already, and consumers see the same message id twice then.", o.Summary.Unknown))
	}
	return lines
}

func orAnew(destination string) string {
	if destination == "" {
		return "where the routes say"
	}
	return destination
}

func orNone(class string) string {
	if class == "" {
		return "no failure"
	}
	return class
}
