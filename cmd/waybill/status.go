package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

func newStatus(p *program) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Headline, numbers, owner and standbys", GroupID: groupSee, Args: cobra.NoArgs,
		Long: "Headline, numbers, owner, standbys and destinations. Exits 6 when something needs a person or a broker.",
		RunE: p.do(func(ctx context.Context, _ []string) error {
			return p.people(func(people *app.People) error { return p.status(ctx, people) })
		})}
}

func (p *program) status(ctx context.Context, people *app.People) error {
	headline, err := people.Why(ctx, app.Question{})
	if err != nil {
		return err
	}
	v := view.Unknown(headline.View())
	if headline.Verdict != app.WhyDatabase {
		o, err := people.Overview(ctx)
		if err != nil {
			return err
		}
		v = view.OfStatus(headline.View(), o)
	}
	if err := p.printItem("Status", v, string(headline.Verdict), func(w io.Writer) { writeStatus(w, headline, v) }); err != nil {
		return err
	}
	if !headline.Verdict.Healthy() {
		return &exitError{code: exitUnhealthy}
	}
	return nil
}

func writeStatus(w io.Writer, headline app.Answer, v view.Status) {
	writeAnswer(w, headline, v.Now)
	if v.Now.IsZero() {
		return
	}
	fmt.Fprintf(w, "\nPENDING %s", v.Counts["pending"])
	if !v.OldestAt.IsZero() {
		fmt.Fprintf(w, " (oldest %s)", age(v.Now, v.OldestAt))
	}
	fmt.Fprintf(w, "   RETRYING %s   DEAD %s   BLOCKED %s in %s keys   SCHEDULED %s\n", v.Counts["retrying"], v.Counts["dead"], v.Counts["blocked"], v.Counts["closed_keys"], v.Counts["scheduled"])
	owner := "none"
	if v.Alive {
		owner = fmt.Sprintf("%s, epoch %s, since %s", clean(v.Owner), v.Epoch, clock(v.AcquiredAt))
	}
	fmt.Fprintf(w, "owner         %s\n", owner)
	for _, r := range v.Relays {
		if !v.Alive || !r.Owner {
			fmt.Fprintf(w, "standby       %s, seen %s ago, version %s\n", clean(r.Instance), age(v.Now, r.SeenAt), clean(r.Version))
		}
	}
	for _, d := range v.Destinations {
		cached := ""
		if d.Cached > 0 {
			cached = fmt.Sprintf("%d in the degraded cache ", d.Cached)
		}
		fmt.Fprintf(w, "destination   %s: %s %s%s\n", clean(d.Name), stateWord(d.State), cached, clean(d.Detail))
	}
	fmt.Fprintf(w, "ids           last %s, read up to %s, claimed %s, low water %s\n", v.LastID, v.ReadUpTo, v.Claimed, v.LowWater)
}

// stateWord says what a destination's breaker state means.
func stateWord(state string) string {
	switch state {
	case relay.DestinationOpen:
		return "breaker open"
	case relay.DestinationClosed:
		return "ok"
	case relay.DestinationPartly:
		return "ok but for some lanes"
	}
	return clean(state)
}
