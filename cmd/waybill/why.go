package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/relay"
)

func newWhy(p *program) *cobra.Command {
	var q app.Question
	c := &cobra.Command{Use: "why [ID | --key K --topic T | --destination D]", Short: "Why does it not move? One verdict, its evidence, the next step", GroupID: groupSee,
		Long: "Answers for a message (by id or message id), a key, a destination or, without arguments, for the whole outbox. Exits 3 for an id that no message has.",
		Args: cobra.MaximumNArgs(1)}
	c.Flags().StringVar(&q.Key.Key, "key", "", "key to ask about, with --topic")
	c.Flags().StringVar(&q.Key.Topic, "topic", "", "topic of the key")
	c.Flags().StringVar(&q.Destination, "destination", "", "destination to ask about")
	c.MarkFlagsRequiredTogether("key", "topic")
	c.MarkFlagsMutuallyExclusive("key", "destination")
	c.RunE = p.do(func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			if q.Ref = args[0]; q.Key != (relay.Key{}) || q.Destination != "" {
				return usage("why takes an ID, a key or a destination, not several of them")
			}
		}
		return p.people(func(people *app.People) error { return p.why(ctx, people, q) })
	})
	return c
}

func (p *program) why(ctx context.Context, people *app.People, q app.Question) error {
	a, err := people.Why(ctx, q)
	if err != nil {
		return err
	}
	if err := p.printItem("Why", a.View(), string(a.Verdict), func(w io.Writer) { writeAnswer(w, a, time.Now()) }); err != nil {
		return err
	}
	switch a.Verdict {
	case app.WhyUnknownID, app.WhyRemoved:
		return &exitError{code: exitNotFound}
	case app.WhyDatabase:
		return &exitError{code: exitFailed}
	}
	return nil
}

func writeAnswer(w io.Writer, a app.Answer, now time.Time) {
	fmt.Fprintf(w, "%s  %s", strings.ToUpper(strings.ReplaceAll(string(a.Verdict), "_", " ")), clean(a.Subject))
	if !a.Since.IsZero() {
		fmt.Fprintf(w, "   since %s", clock(a.Since))
		if !now.IsZero() && now.After(a.Since) {
			fmt.Fprintf(w, ", %s", age(now, a.Since))
		}
	}
	fmt.Fprintln(w)
	for _, e := range a.Evidence {
		fmt.Fprintf(w, "  %s\n", clean(e))
	}
	for i, n := range a.Next {
		label := "next"
		if i > 0 {
			label = "    "
		}
		fmt.Fprintf(w, "  %s  %s\n", label, clean(n))
	}
}
