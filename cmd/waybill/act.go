package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

// maxRefs bounds the messages of one command line.
const maxRefs = 100_000

// bulkLimit is long enough for that many; each step of an act has its own, shorter limit.
const bulkLimit = 10 * time.Minute

var actHelp = map[app.ActName]string{
	app.ActRetry:   "Try messages again now: dead, retrying or discarded ones, with new attempts",
	app.ActSkip:    "Let the keys of dead messages go on without them",
	app.ActDiscard: "Give held messages up for good; their keys go on",
}

var actEffect = map[app.ActName]string{
	app.ActRetry:   "They are due now, with the same bytes and message ids; what waits behind them follows when they are sent.",
	app.ActSkip:    "They stay dead. Later messages of their keys go on now: the order is broken at these places.",
	app.ActDiscard: "They will not be sent. Later messages of their keys go on. It can be taken back by retry while their rows exist.",
}

// consent are the flags of every command that writes.
type consent struct {
	yes, dryRun bool
	reason      string
}

func (s *consent) flags(c *cobra.Command, reasonNeeded bool) {
	c.Flags().BoolVarP(&s.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&s.dryRun, "dry-run", false, "print the plan and change nothing")
	text := "why, for the activity log"
	if reasonNeeded {
		text += " (required)"
	}
	c.Flags().StringVar(&s.reason, "reason", "", text)
}

func (s *consent) check(name app.ActName) error {
	if name != app.ActRetry && strings.TrimSpace(s.reason) == "" && !s.dryRun {
		return usage(string(name) + " needs --reason: it goes into the activity log")
	}
	return nil
}

const actHow = `

- reads ids from standard input, one a line. --filter means every message that matches now, as of message list; a filter without a state means %s
ones. Their ids are fixed and counted before anything is changed: a plan. Once confirmed it is an operation, which the relay that owns the outbox runs in short
transactions: 10 messages first, then 100, then the rest, and it stops by itself when too many fail again. waybill operation shows and steers it.

The plan is shown and confirmed first. Without a terminal and without --yes it is printed and nothing is changed (exit 4).`

func newMessageAct(p *program, name app.ActName) *cobra.Command {
	var s consent
	var b bulk
	reason := " --reason 'test orders'"
	if name == app.ActRetry {
		reason = ""
	}
	c := &cobra.Command{Use: string(name) + " ID… | - | --filter FILTER", Short: actHelp[name], Long: actHelp[name] + ".\n" + actEffect[name] +
		fmt.Sprintf(actHow, usualStates(name)),
		Example: fmt.Sprintf("  waybill message %[1]s 1048813%[2]s\n  waybill message %[1]s --filter 'topic:order.* class:too_large age>1h' --dry-run", name, reason)}
	s.flags(c, name != app.ActRetry)
	b.flags(c, name)
	c.RunE = p.doWithin(bulkLimit, func(ctx context.Context, args []string) error {
		f, err := b.parse(args)
		if err != nil {
			return err
		}
		if err := s.check(name); err != nil {
			return err
		}
		refs, fromInput, err := p.refs(args)
		if err != nil {
			return err
		}
		return p.people(func(people *app.People) error {
			if err := people.CheckSchema(ctx); err != nil {
				return err
			}
			if len(f.Terms) > 0 {
				return p.bulk(ctx, people, name, f, b, s)
			}
			pl, err := makePlan(ctx, people, name, refs)
			if err != nil {
				return err
			}
			return p.act(ctx, people, pl, s, fromInput)
		})
	})
	return c
}

// refs returns the ids of the command line, or of standard input for "-".
func (p *program) refs(args []string) (refs []string, fromInput bool, err error) {
	if !slices.Contains(args, "-") {
		return args, false, nil
	}
	if len(args) > 1 {
		return nil, false, usage("- stands alone: ids come from standard input or from the command line")
	}
	lines := bufio.NewScanner(p.in)
	for lines.Scan() {
		if ref := strings.TrimSpace(lines.Text()); ref != "" {
			if refs = append(refs, ref); len(refs) > maxRefs {
				return nil, true, usage(fmt.Sprintf("more than %d ids", maxRefs))
			}
		}
	}
	return refs, true, lines.Err()
}

// plan is what an act would do.
type plan struct {
	act     app.ActName
	ids     []relay.ID
	unknown []string       // references that no message has
	states  map[string]int // how many are in which state
	fits    int            // in a state that the act applies to
	passed  int            // dead messages whose keys go on already
}

func makePlan(ctx context.Context, people *app.People, act app.ActName, refs []string) (*plan, error) {
	pl := &plan{act: act, states: map[string]int{}}
	seen := map[relay.ID]bool{}
	for chunk := range slices.Chunk(refs, relay.MaxPage) {
		list, err := people.Messages(ctx, relay.Filter{Terms: []relay.Term{{Name: "id", Op: ':', Values: chunk}}}, 0, relay.MaxPage)
		if err != nil {
			return nil, err
		}
		known := map[string]bool{}
		for _, m := range list.Items {
			known[m.ID.String()], known[m.MessageID] = true, true
			if !seen[m.ID] {
				seen[m.ID] = true
				pl.add(m)
			}
		}
		for _, ref := range chunk {
			if !known[ref] {
				pl.unknown = append(pl.unknown, ref)
			}
		}
	}
	slices.Sort(pl.ids)
	return pl, nil
}

func (pl *plan) add(m relay.MessageRow) {
	pl.ids = append(pl.ids, m.ID)
	pl.states[stateOf(m)]++
	switch all, _ := relay.Applies(string(pl.act)); {
	case !slices.Contains(all, stateOf(m)):
	case pl.act == app.ActSkip && (m.Passed || m.Key == ""):
		pl.passed++
	default:
		pl.fits++
	}
}

func (pl *plan) write(w io.Writer) {
	fmt.Fprintf(w, "PLAN %s: %d of %d messages\n", pl.act, pl.fits, len(pl.ids)+len(pl.unknown))
	for _, state := range []string{"dead", "retrying", "blocked", "scheduled", "discarded", "pending", "sent"} {
		if n := pl.states[state]; n > 0 {
			fmt.Fprintf(w, "  %-10s %d\n", state, n)
		}
	}
	if pl.passed > 0 {
		fmt.Fprintf(w, "  %d of the dead ones hold no key back\n", pl.passed)
	}
	if len(pl.unknown) > 0 {
		fmt.Fprintf(w, "  %-10s %d (%s)\n", "unknown", len(pl.unknown), clean(sample(pl.unknown)))
	}
	fmt.Fprintf(w, "  %s\n", actEffect[pl.act])
}

func sample(list []string) string {
	if len(list) > 5 {
		return strings.Join(list[:5], ", ") + ", …"
	}
	return strings.Join(list, ", ")
}

// act shows the plan, asks, does it, and reports what became of every message.
func (p *program) act(ctx context.Context, people *app.People, pl *plan, s consent, fromInput bool) error {
	if len(pl.ids) == 0 {
		if len(pl.unknown) == 0 {
			p.note("no message is meant, nothing to do")
			return nil
		}
		return &exitError{exitNotFound, fmt.Errorf("there is no message %s", sample(pl.unknown))}
	}
	if s.dryRun {
		pl.write(p.err)
		return p.printActed(pl, relay.Acted{Requested: len(pl.ids) + len(pl.unknown)}, true)
	}
	if err := p.confirm(s.yes, fromInput, pl.write); err != nil {
		return err
	}
	got, err := people.Act(ctx, pl.act, pl.ids, s.reason)
	if err != nil && got.Requested == 0 {
		return err
	}
	got.Requested += len(pl.unknown)
	got.Missing += len(pl.unknown)
	if printErr := p.printActed(pl, got, false); printErr != nil || err != nil {
		return errors.Join(err, printErr)
	}
	switch {
	case got.Changed == got.Requested:
		return nil
	case got.Changed == 0:
		return &exitError{exitRefused, errors.New("nothing was changed: " + left(got))}
	}
	return &exitError{exitPartly, fmt.Errorf("%d of %d changed: %s", got.Changed, got.Requested, left(got))}
}

func left(a relay.Acted) string {
	return fmt.Sprintf("%d being sent now, %d in another state, %d not held or unknown", a.Sending, a.Other, a.Missing)
}

// confirm shows a plan on standard error and asks there, when there is somebody to ask.
func (p *program) confirm(yes, inputUsed bool, plan func(io.Writer)) error {
	if yes {
		return nil
	}
	plan(p.err)
	if inputUsed || !isTerminal(p.in) || !isTerminal(p.err) {
		return &exitError{exitRefused, errors.New("nothing was changed: confirm with --yes")}
	}
	fmt.Fprint(p.err, "go on? [y/N] ")
	answer, err := bufio.NewReader(p.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return &exitError{exitRefused, errors.New("nothing was changed")}
	}
	return nil
}

func (p *program) printActed(pl *plan, got relay.Acted, dryRun bool) error {
	v := view.OfActed(string(pl.act), got)
	if v.DryRun = dryRun; !dryRun {
		v.Unchanged = append(v.Unchanged, pl.unknown...)
	}
	return p.printItem("Acted", v, v.Activity, func(w io.Writer) {
		if dryRun {
			fmt.Fprintln(w, "dry run: nothing was changed")
			return
		}
		fmt.Fprintf(w, "%s: %d of %d changed (activity %s)\n", pl.act, v.Changed, v.Requested, v.Activity)
		for _, id := range v.Unchanged {
			fmt.Fprintf(w, "unchanged %s\n", clean(id))
		}
	})
}
