package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

func newOperation(p *program) *cobra.Command {
	c := &cobra.Command{Use: "operation", Short: "Acts on many messages: list, look at, pause, resume and stop them", GroupID: groupSee, Args: cobra.NoArgs,
		Long: `An operation is an act on everything that a filter matched when it was planned. The relay that owns the outbox runs it, in transactions of at most 500
messages; it survives restarts. waybill message retry --filter starts one, and so do skip and discard.`,
		RunE: func(*cobra.Command, []string) error {
			return usage("operation needs a verb: list, get, watch, items, pause, resume or stop")
		}}
	c.AddCommand(newOperationList(p), newOperationGet(p), newOperationWatch(p), newOperationItems(p), newOperationSteer(p, relay.Pause, "Let an operation wait"),
		newOperationSteer(p, relay.Resume, "Let a paused operation go on"), newOperationSteer(p, relay.Stop, "End an operation or plan; what was done stays done"))
	return c
}

func newOperationList(p *program) *cobra.Command {
	var before int64
	var limit int
	c := &cobra.Command{Use: "list", Short: "List plans and operations, newest first", Args: cobra.NoArgs,
		RunE: p.do(func(ctx context.Context, _ []string) error {
			if limit < 1 || limit > relay.MaxPage {
				return usage(fmt.Sprintf("--limit is 1 to %d", relay.MaxPage))
			}
			return p.asking(ctx, func(people *app.People) error {
				list, err := people.Operations(ctx, relay.OperationID(before), limit)
				if err != nil {
					return err
				}
				t := table{kind: "OperationList", wide: 4, columns: []string{"ID", "ACTION", "STATE", "DONE", "OF", "FAILED", "PLANNED", "ACTOR", "FILTER", "REASON", "CAUSE"}}
				for _, o := range list {
					t.rows = append(t.rows, []string{o.ID.String(), o.Action, string(o.State), strconv.Itoa(o.Handled), strconv.Itoa(o.Total), strconv.Itoa(o.FailedAgain),
						clock(o.PlannedAt), o.Actor, o.Filter, o.Reason, o.Cause})
					t.items, t.ids = append(t.items, view.OfOperation(o)), append(t.ids, o.ID.String())
				}
				if len(list) == limit {
					t.next, t.capped = list[limit-1].ID.String(), true
				}
				return p.printTable(t)
			})
		})}
	c.Flags().Int64Var(&before, "before", 0, "only ids below this one: the next page")
	c.Flags().IntVar(&limit, "limit", relay.DefaultPage, fmt.Sprintf("most operations, up to %d", relay.MaxPage))
	return c
}

// asking opens the database of a schema that is new enough.
func (p *program) asking(ctx context.Context, work func(*app.People) error) error {
	return p.people(func(people *app.People) error {
		if err := people.CheckSchema(ctx); err != nil {
			return err
		}
		return work(people)
	})
}

func operationID(text string) (relay.OperationID, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, usage(fmt.Sprintf("%q is no operation: a whole number, as operation list shows it", text))
	}
	return relay.OperationID(n), nil
}

func newOperationGet(p *program) *cobra.Command {
	return &cobra.Command{Use: "get ID", Short: "How far an operation is", Args: cobra.ExactArgs(1), RunE: p.do(func(ctx context.Context, args []string) error {
		id, err := operationID(args[0])
		if err != nil {
			return err
		}
		return p.asking(ctx, func(people *app.People) error {
			o, err := people.Operation(ctx, id)
			if err != nil {
				return err
			}
			return p.printOperation(o, "")
		})
	})}
}

func newOperationWatch(p *program) *cobra.Command {
	return &cobra.Command{Use: "watch ID", Short: "Wait for the end of an operation", Args: cobra.ExactArgs(1),
		RunE: p.doWithin(bulkLimit, func(ctx context.Context, args []string) error {
			id, err := operationID(args[0])
			if err != nil {
				return err
			}
			return p.asking(ctx, func(people *app.People) error { return p.watch(ctx, people, id) })
		})}
}

// How often watch looks, and how often it says how far it is.
const (
	watchEvery = 300 * time.Millisecond
	watchSays  = 10 * time.Second
)

// watch waits for the end of an operation and reports it; when the time is over the operation goes on.
func (p *program) watch(ctx context.Context, people *app.People, id relay.OperationID) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for said := time.Now(); ; {
		o, err := people.Operation(ctx, id)
		if err == nil && (o.State.Ended() || o.State == relay.OperationPlanned) {
			return errors.Join(p.printOperation(o, ""), verdict(o))
		}
		if err == nil && time.Since(said) >= watchSays {
			p.note("operation %d %s: %d of %d, %d failed again%s", o.ID, o.State, o.Handled, o.Total, o.FailedAgain, map[bool]string{true: ", waiting for outcomes"}[o.Waiting()])
			said = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			p.note("operation %d goes on without you: waybill operation watch %d", id, id)
			return ctx.Err()
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// verdict is the exit code of an operation that ended.
func verdict(o relay.Operation) error {
	good := o.Sent + o.Acted
	switch {
	case o.State == relay.OperationPlanned:
		return &exitError{exitRefused, errors.New("it is a plan, which nobody has started")}
	case o.State == relay.OperationDone && good == o.Total:
		return nil
	case good == 0:
		return &exitError{exitRefused, fmt.Errorf("nothing came of it: %s", rest(o))}
	}
	return &exitError{exitPartly, fmt.Errorf("%d of %d: %s", good, o.Total, rest(o))}
}

func rest(o relay.Operation) string {
	text := fmt.Sprintf("%d failed again, %d wait in their keys, %d had changed", o.FailedAgain, o.Waits, o.Changed)
	if left := o.Total - o.Handled; left > 0 {
		text += fmt.Sprintf(", %d untouched", left)
	}
	return text
}

func newOperationItems(p *program) *cobra.Command {
	var outcome string
	var after int64
	var limit int
	c := &cobra.Command{Use: "items ID", Short: "The messages of an operation and what became of them", Args: cobra.ExactArgs(1),
		Example: "  waybill operation items 7 --outcome failed_again\n  waybill operation items 7 --outcome failed_again -o id | waybill message discard - --reason R --yes",
		RunE: p.do(func(ctx context.Context, args []string) error {
			id, err := operationID(args[0])
			switch {
			case err != nil:
				return err
			case limit < 1 || limit > relay.MaxPage:
				return usage(fmt.Sprintf("--limit is 1 to %d", relay.MaxPage))
			case outcome != "" && !slices.Contains(relay.Outcomes, outcome):
				return usage("--outcome is one of " + strings.Join(relay.Outcomes, ", "))
			}
			return p.asking(ctx, func(people *app.People) error {
				return p.operationItems(ctx, people, id, outcome, relay.ID(after), limit)
			})
		})}
	c.Flags().StringVar(&outcome, "outcome", "", "only those: "+strings.Join(relay.Outcomes, ", "))
	c.Flags().Int64Var(&after, "after", 0, "only ids above this one: the next page")
	c.Flags().IntVar(&limit, "limit", relay.DefaultPage, fmt.Sprintf("most messages, up to %d", relay.MaxPage))
	return c
}

func (p *program) operationItems(ctx context.Context, people *app.People, id relay.OperationID, outcome string, after relay.ID, limit int) error {
	if _, err := people.Operation(ctx, id); err != nil {
		return err
	}
	list, err := people.OperationItems(ctx, id, outcome, after, limit)
	if err != nil {
		return err
	}
	t := table{kind: "OperationItemList", columns: []string{"ID", "PLANNED_AS", "STEP", "OUTCOME"}}
	for _, x := range list {
		t.rows = append(t.rows, []string{x.ID.String(), x.State, strconv.Itoa(x.Step), x.Outcome})
		t.items, t.ids = append(t.items, view.OfOperationItem(x)), append(t.ids, x.ID.String())
	}
	if len(list) == limit {
		t.next, t.capped = list[limit-1].ID.String(), true
	}
	return p.printTable(t)
}

func newOperationSteer(p *program, verb relay.Verb, short string) *cobra.Command {
	var reason string
	c := &cobra.Command{Use: string(verb) + " ID", Short: short, Args: cobra.ExactArgs(1), RunE: p.do(func(ctx context.Context, args []string) error {
		id, err := operationID(args[0])
		if err != nil {
			return err
		}
		return p.asking(ctx, func(people *app.People) error {
			if err := people.Steer(ctx, id, verb, reason); err != nil {
				return err
			}
			o, err := people.Operation(ctx, id)
			if err != nil {
				return err
			}
			return p.printOperation(o, "")
		})
	})}
	c.Flags().StringVar(&reason, "reason", "", "why, for the activity log")
	return c
}

// printOperation prints an operation; headline stands above it for people.
func (p *program) printOperation(o relay.Operation, headline string) error {
	return p.printItem("Operation", view.OfOperation(o), o.ID.String(), func(w io.Writer) {
		if headline != "" {
			fmt.Fprintln(w, headline)
			return
		}
		fmt.Fprintf(w, "operation %d %s: %s, %d of %d messages\n", o.ID, o.Action, o.State, o.Handled, o.Total)
		for _, line := range []struct {
			n    int
			text string
		}{{o.Sent, "sent"}, {o.FailedAgain, "failed again"}, {o.Waits, "wait behind a message of their key that does not pass"}, {o.Acted, map[string]string{"skip": "skipped", "discard": "discarded"}[o.Action]},
			{o.Changed, "had changed since the plan: left alone"}, {o.Handled - o.Sent - o.FailedAgain - o.Waits - o.Acted - o.Changed, "without an outcome yet"}} {
			if line.n > 0 {
				fmt.Fprintf(w, "  %d %s\n", line.n, line.text)
			}
		}
		if o.Cause != "" {
			fmt.Fprintf(w, "  %s\n", clean(o.Cause))
		}
	})
}
