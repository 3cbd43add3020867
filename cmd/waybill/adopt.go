package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/migrations"
)

const adoptHelp = `Makes this server or database the home of an outbox that was written on another one, after pg_upgrade, a dump and restore, a blue-green switch or a copy.
Until then every relay refuses it: a copy that sends would send production's messages a second time.

--moved   the original is gone, and everything that it wrote is here. Message ids stay as they are.
--copied  the original lives on, as beside a staging copy. What this copy has not sent gets message ids of its own; --pending says whether it is sent at
          all: keep, or discard.

Needs the login of the migrations. Stop every relay of a moved original first.`

type adoptView struct {
	Activity  string `json:"activity"`
	OutboxID  string `json:"outbox_id"`
	FromID    string `json:"from_id"`
	Discarded string `json:"discarded"`
}

func newAdopt(p *program) *cobra.Command {
	var moved, copied, single bool
	var pending string
	var s consent
	c := &cobra.Command{Use: "adopt --moved | --copied", Short: "Go on here with an outbox that was moved or copied", Long: adoptHelp, GroupID: groupSetUp, Args: cobra.NoArgs,
		Example: "  waybill adopt --moved --reason 'pg_upgrade to 18'\n  waybill adopt --copied --pending discard --reason 'staging copy'"}
	f := c.Flags()
	f.BoolVar(&moved, "moved", false, "the original is gone")
	f.BoolVar(&copied, "copied", false, "the original lives on")
	f.StringVar(&pending, "pending", "", "with --copied: keep or discard what is not sent yet")
	f.BoolVar(&single, "single-role", false, "for servers where roles cannot be created: one login owns and does everything")
	f.BoolVarP(&s.yes, "yes", "y", false, "do not ask")
	f.StringVar(&s.reason, "reason", "", "why, for the activity log (required)")
	c.MarkFlagsOneRequired("moved", "copied")
	c.MarkFlagsMutuallyExclusive("moved", "copied")
	c.RunE = p.do(func(ctx context.Context, _ []string) error {
		switch {
		case strings.TrimSpace(s.reason) == "":
			return usage("adopt needs --reason: it goes into the activity log")
		case copied && pending != "keep" && pending != "discard":
			return usage("--copied needs --pending keep or --pending discard: what becomes of messages that are not sent yet?")
		case moved && pending != "" && pending != "keep":
			return usage("--pending is for --copied: of a moved outbox every message is sent")
		}
		url, o, err := p.schemaOf(single)
		if err != nil {
			return err
		}
		a := migrations.Adoption{Copied: copied, Discard: pending == "discard", Actor: app.Actor(), Reason: s.reason}
		if err := p.confirm(s.yes, false, func(w io.Writer) { writeAdoption(w, a) }); err != nil {
			return err
		}
		did, err := migrations.Adopt(ctx, url, o, a)
		if err != nil {
			return err
		}
		v := adoptView{strconv.FormatInt(did.Activity, 10), did.OutboxID, strconv.FormatInt(did.FromID, 10), strconv.FormatInt(did.Discarded, 10)}
		return p.printItem("Adopted", v, v.Activity, func(w io.Writer) {
			fmt.Fprintf(w, "adopted (activity %s): message ids begin with %s from id %s on, %s messages discarded\n", v.Activity, v.OutboxID, v.FromID, v.Discarded)
			fmt.Fprintln(w, "relays take it within seconds; start one if none runs: waybill run")
		})
	})
	return c
}

func writeAdoption(w io.Writer, a migrations.Adoption) {
	switch {
	case !a.Copied:
		fmt.Fprintln(w, "PLAN adopt a moved outbox: relays send from here what is pending. If a relay still sends from the original, messages arrive twice.")
	case a.Discard:
		fmt.Fprintln(w, "PLAN adopt a copy: every message in it that is not sent yet is given up; new ones are sent from here.")
	default:
		fmt.Fprintln(w, "PLAN adopt a copy: what is not sent yet is sent from here too, also what the original sends or has sent meanwhile.")
	}
}
