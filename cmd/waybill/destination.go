package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

func newDestination(p *program) *cobra.Command {
	c := &cobra.Command{Use: "destination", Short: "Check a broker; pause and resume it; accept that it is another cluster now", GroupID: groupSee, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("destination needs a verb: check, pause, resume or adopt")
		}}
	c.AddCommand(newDestinationCheck(p), newDestinationPause(p), newDestinationResume(p), newDestinationAdopt(p))
	return c
}

const destinationCheckHelp = `Asks the brokers of one destination, or of all, whether they are reachable, which cluster they are, and whether they are configured so that what they confirm is
safe. It asks with the addresses and the login of the configuration, and changes nothing; the database is not needed.

Exits 6 when a finding is fail. A setting that this login may not read is unseen, never ok.`

func newDestinationCheck(p *program) *cobra.Command {
	return &cobra.Command{Use: "check [NAME]", Short: "Is this broker configured to keep what it confirms?", Long: destinationCheckHelp, Args: cobra.MaximumNArgs(1),
		Example: "  waybill destination check kafka-a",
		RunE: p.do(func(ctx context.Context, args []string) error {
			l, err := p.load(false)
			if err != nil {
				return err
			}
			c := *l.Config
			if len(args) == 1 {
				d := c.Destination(args[0])
				if d == nil {
					return &exitError{exitNotFound, fmt.Errorf("there is no destination %q in the configuration", args[0])}
				}
				c.Destinations = []config.Destination{*d}
			}
			return p.destinationFindings(app.CheckDestinations(ctx, &c))
		})}
}

type findingView struct {
	Destination string `json:"destination"`
	Cluster     string `json:"cluster"`
	relay.Finding
}

func (p *program) destinationFindings(found map[string]relay.Findings) error {
	t := table{kind: "FindingList", columns: []string{"DESTINATION", "LEVEL", "FINDING", "SUBJECT", "TEXT", "FIX", "CLUSTER"}, wide: 1}
	failed := 0
	for _, name := range slices.Sorted(maps.Keys(found)) {
		cluster := found[name].Cluster
		for _, f := range found[name].Items {
			if f.Level == relay.LevelFail {
				failed++
			}
			t.rows = append(t.rows, []string{name, string(f.Level), f.ID, f.Subject, f.Text, f.Fix, cluster})
			t.items, t.ids = append(t.items, findingView{name, cluster, f}), append(t.ids, f.ID)
		}
	}
	if err := p.printTable(t); err != nil {
		return err
	}
	if failed > 0 {
		return &exitError{exitUnhealthy, fmt.Errorf("%d findings can lose messages, or keep them from being sent; FIX says what to change", failed)}
	}
	return nil
}

const destinationAdoptHelp = `Accepts that another cluster answers under a destination's name. The first cluster that answered is remembered in the database; a relay that meets
another one sends nothing there, so that a wrong address never splits a stream over two clusters.

Asks the brokers of the configuration which cluster they are, shows it beside the one that is remembered, and remembers it instead. The relay tries again
within 30 s. What was confirmed by the cluster before is not sent again.`

type pinView struct {
	Destination string `json:"destination"`
	Before      string `json:"cluster_before"`
	Cluster     string `json:"cluster"`
	Activity    string `json:"activity,omitempty"`
	DryRun      bool   `json:"dry_run,omitempty"`
}

func newDestinationAdopt(p *program) *cobra.Command {
	var s consent
	c := &cobra.Command{Use: "adopt NAME", Short: "Send to another cluster under the same name", Long: destinationAdoptHelp, Args: cobra.ExactArgs(1),
		Example: "  waybill destination adopt kafka-a --reason 'new cluster, old one is gone'"}
	s.flags(c, true)
	c.RunE = p.do(func(ctx context.Context, args []string) error {
		if strings.TrimSpace(s.reason) == "" && !s.dryRun {
			return usage("adopt needs --reason: it goes into the activity log")
		}
		l, err := p.load(false)
		if err != nil {
			return err
		}
		people, err := app.OpenPeople(l.Config)
		if err != nil {
			return err
		}
		defer people.Close()
		if err := people.CheckSchema(ctx); err != nil {
			return err
		}
		return p.destinationAdopt(ctx, people, args[0], s)
	})
	return c
}

func (p *program) destinationAdopt(ctx context.Context, people *app.People, name string, s consent) error {
	found, err := people.Clusters(ctx, name)
	if err != nil {
		return err
	}
	if found.Pinned == found.Answers {
		return &exitError{exitRefused, fmt.Errorf("%s is still cluster %s: there is nothing to adopt", name, found.Pinned)}
	}
	plan := func(w io.Writer) {
		fmt.Fprintf(w, "PLAN adopt %s: it was cluster %s, now %s answers and gets what is not sent yet\n", clean(name), clean(found.Pinned), clean(found.Answers))
	}
	v := pinView{Destination: name, Before: found.Pinned, Cluster: found.Answers, DryRun: s.dryRun}
	if s.dryRun {
		plan(p.err)
	} else {
		if err := p.confirm(s.yes, false, plan); err != nil {
			return err
		}
		activity, err := people.AdoptDestination(ctx, name, found.Answers, s.reason)
		if err != nil {
			return err
		}
		v.Activity = strconv.FormatInt(activity, 10)
	}
	return p.printItem("Pin", v, name, func(w io.Writer) {
		if s.dryRun {
			fmt.Fprintln(w, "dry run: nothing was changed")
			return
		}
		fmt.Fprintf(w, "%s is cluster %s from now on (activity %s)\n", clean(name), clean(v.Cluster), v.Activity)
	})
}
