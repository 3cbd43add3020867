package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/relay"
)

func newStatus(p *program) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Headline, numbers, owner and standbys", GroupID: groupSee, Args: cobra.NoArgs,
		Long: "Headline, numbers, owner, standbys and destinations. Exits 6 when something needs a person or a broker.",
		RunE: p.do(func(ctx context.Context, _ []string) error {
			return p.people(func(people *app.People) error { return p.status(ctx, people) })
		})}
}

type statusView struct {
	Headline     app.Answer        `json:"headline"`
	Now          time.Time         `json:"now"`
	Epoch        string            `json:"epoch"`
	Owner        string            `json:"owner,omitempty"`
	Address      string            `json:"address,omitempty"`
	Alive        bool              `json:"owner_alive"`
	AcquiredAt   time.Time         `json:"acquired_at,omitzero"`
	LeaseUntil   time.Time         `json:"lease_until,omitzero"`
	QuietUntil   time.Time         `json:"quiet_until,omitzero"`
	LastID       string            `json:"last_id"`
	ReadUpTo     string            `json:"read_up_to"`
	Claimed      string            `json:"claimed"`
	LowWater     string            `json:"low_water"`
	Counts       map[string]string `json:"counts"`
	OldestAt     time.Time         `json:"oldest_pending_at,omitzero"`
	Relays       []relayView       `json:"relays"`
	Destinations []destinationView `json:"destinations"`
}

type relayView struct {
	Instance  string    `json:"instance"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at"`
	Version   string    `json:"version"`
	Address   string    `json:"address,omitempty"`
	owner     bool
}

type destinationView struct {
	Name string `json:"name"`
	relay.DestinationStatus
}

func (p *program) status(ctx context.Context, people *app.People) error {
	headline, err := people.Why(ctx, app.Question{})
	if err != nil {
		return err
	}
	v := statusView{Headline: headline, Counts: map[string]string{}, Relays: []relayView{}, Destinations: []destinationView{}}
	if headline.Verdict != app.WhyDatabase {
		o, err := people.Overview(ctx)
		if err != nil {
			return err
		}
		v.fill(o)
	}
	if err := p.printItem("Status", v, string(headline.Verdict), func(w io.Writer) { v.write(w) }); err != nil {
		return err
	}
	if !headline.Verdict.Healthy() {
		return &exitError{code: exitUnhealthy}
	}
	return nil
}

func (v *statusView) fill(o relay.Overview) {
	v.Now, v.Epoch, v.Owner, v.Address, v.Alive = o.Now, strconv.FormatInt(int64(o.Epoch), 10), o.Owner, o.Address, o.Alive
	v.AcquiredAt, v.LeaseUntil, v.OldestAt = o.AcquiredAt, o.LeaseUntil, o.OldestAt
	if o.QuietUntil.After(o.Now) {
		v.QuietUntil = o.QuietUntil
	}
	v.LastID, v.ReadUpTo, v.Claimed, v.LowWater = o.LastID.String(), o.ReadUpTo.String(), o.Claimed.String(), o.LowWater.String()
	v.Counts["pending"], v.Counts["closed_keys"] = o.Pending.String(), o.Closed.String()
	for _, s := range []relay.HeldState{relay.Retrying, relay.Blocked, relay.Scheduled, relay.Dead} {
		v.Counts[string(s)] = o.Held[s].String()
	}
	for _, r := range o.Relays {
		v.Relays = append(v.Relays, relayView{r.Instance, r.StartedAt, r.SeenAt, r.Version, r.Address, o.OwnedBy(r.Instance)})
	}
	for _, name := range o.Reported() {
		st, _ := o.Destination(name)
		v.Destinations = append(v.Destinations, destinationView{name, st})
	}
}

func (v *statusView) write(w io.Writer) {
	writeAnswer(w, v.Headline, v.Now)
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
		if !v.Alive || !r.owner {
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
