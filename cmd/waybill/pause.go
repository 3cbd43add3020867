package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/view"
)

const destinationPauseHelp = `Stops a destination, or with --all every one of them, until somebody resumes it, or until the end that --until names. The relay obeys within two seconds: a batch that is on its way ends, and nothing more is
sent. Messages wait and lose no attempt, however long it lasts. The pause lies in the database: it outlives restarts and holds for whichever relay owns the outbox.

--all is one act of its own, and takes one resume --all; it does not touch the pauses of single destinations.`

func newDestinationPause(p *program) *cobra.Command {
	return newPausing(p, "pause", "Stop sending to a destination; its messages wait", destinationPauseHelp, "  waybill destination pause kafka-a --reason rebalance\n  waybill destination pause kafka-a --until 2h --reason rebalance", (*app.People).PauseDestination)
}

func newDestinationResume(p *program) *cobra.Command {
	return newPausing(p, "resume", "Let a paused destination go on", "Takes a pause back. What waited leaves in order.", "  waybill destination resume kafka-a",
		func(people *app.People, ctx context.Context, name string, _ time.Time, reason string) (int64, error) {
			return people.ResumeDestination(ctx, name, reason)
		})
}

func newPausing(p *program, verb, short, long, example string, do func(*app.People, context.Context, string, time.Time, string) (int64, error)) *cobra.Command {
	var all bool
	var reason, end string
	c := &cobra.Command{Use: verb + " NAME | --all", Short: short, Long: long, Example: example, Args: cobra.MaximumNArgs(1)}
	c.Flags().BoolVar(&all, "all", false, "every destination, by one act")
	text := "why, for the activity log"
	if verb == "pause" {
		text += " and whoever asks why nothing moves (required)"
		c.Flags().StringVar(&end, "until", "", "when it ends by itself: 2h, or 2026-01-31T12:00:00Z (default: when somebody resumes it)")
	}
	c.Flags().StringVar(&reason, "reason", "", text)
	c.RunE = p.do(func(ctx context.Context, args []string) error {
		switch {
		case all == (len(args) == 1):
			return usage(verb + " needs the name of a destination, or --all")
		case verb == "pause" && strings.TrimSpace(reason) == "":
			return usage("pause needs --reason: it is what others read who wonder why nothing moves")
		}
		name := strings.Join(args, "")
		if name == "" && !all {
			return usage("the name of a destination is empty; all of them are --all")
		}
		until, err := view.ParseUntil(end, time.Now())
		if err != nil {
			return usage("--until: " + err.Error())
		}
		return p.asking(ctx, func(people *app.People) error {
			activity, err := do(people, ctx, name, until, reason)
			if err != nil {
				return err
			}
			return p.printPausing(view.OfPausing(name, verb == "pause", activity, until))
		})
	})
	return c
}

func (p *program) printPausing(v view.Pausing) error {
	what := v.Destination
	if what == "" {
		what = "every destination"
	}
	return p.printItem("Pausing", v, v.Destination, func(w io.Writer) {
		if v.Paused {
			ends := "to go on"
			if !v.Until.IsZero() {
				ends = "it goes on by itself at " + v.Until.Format(time.RFC3339) + ", or before"
			}
			fmt.Fprintf(w, "%s is paused (activity %s). The relay stops within 2 s; %s: waybill destination resume %s\n", clean(what), v.Activity, ends, orAll(v.Destination))
			return
		}
		fmt.Fprintf(w, "%s is resumed (activity %s). The relay goes on within 2 s\n", clean(what), v.Activity)
	})
}

func orAll(name string) string {
	if name == "" {
		return "--all"
	}
	return clean(name)
}
