package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
)

func newDestination(p *program) *cobra.Command {
	c := &cobra.Command{Use: "destination", Short: "Accept that a destination is another cluster now", GroupID: groupSee, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usage("destination needs a verb: adopt") }}
	c.AddCommand(newDestinationAdopt(p))
	return c
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
