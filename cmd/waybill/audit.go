package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

const auditHelp = `Compares, over a range of ids, the messages that were written, those that are marked sent, and what the broker gives back where the receipts say that they
lie, and names each difference. It only reads, slowly, beside delivery; who asked and what came of it are rows of the activity log.

Kafka is read back. A bundled broker runs in the process of its relay: the page /audit there can ask it, and a command cannot.`

// auditTimeout leaves an audit the time that it takes itself.
const auditTimeout = 2 * time.Minute

func newAudit(p *program) *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Compare what was written, sent and stored: run, list, get", Long: auditHelp, GroupID: groupSee, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usage("audit needs a verb: run, list or get") }}
	c.AddCommand(newAuditRun(p), newAuditList(p), newAuditGet(p))
	return c
}

func newAuditRun(p *program) *cobra.Command {
	var from, to int64
	var reason string
	c := &cobra.Command{Use: "run", Short: "Compare now: the newest 10,000 that are old enough, or a range of ids", Args: cobra.NoArgs,
		Long: auditHelp + "\n\nExits 6 when there is a difference, 1 when too little could be read to judge, or nothing.", Example: "  waybill audit run\n  waybill audit run --from 1048813 --to 1058812"}
	c.Flags().Int64Var(&from, "from", 0, "first id")
	c.Flags().Int64Var(&to, "to", 0, "last id, at most 100,000 in all")
	c.Flags().StringVar(&reason, "reason", "", "why, for the activity log")
	c.RunE = p.doWithin(auditTimeout, func(ctx context.Context, _ []string) error {
		l, err := p.load(false)
		if err != nil {
			return err
		}
		run, err := app.Audit(ctx, l.Config, relay.ID(from), relay.ID(to), reason)
		if err != nil {
			return err
		}
		return errors.Join(p.printAudit(view.OfWholeAudit(run), run.Line()), auditVerdict(string(run.Verdict())))
	})
	return c
}

// auditVerdict is the exit code of an audit that ended.
func auditVerdict(verdict string) error {
	switch verdict {
	case "clean":
		return nil
	case "differences":
		return &exitError{exitUnhealthy, nil}
	}
	return &exitError{exitFailed, nil}
}

// printAudit shows the line of an audit, what it could not read, and its differences.
func (p *program) printAudit(a view.Audit, line string) error {
	switch p.output {
	case "json", "yaml":
		return p.encode(view.OfItem("Audit", a))
	case "ndjson":
		return p.line(a)
	case "id":
		fmt.Fprintln(p.out, a.ID)
		return nil
	}
	t := table{kind: "AuditDifferenceList", columns: []string{"KIND", "ID", "MESSAGE_ID", "LANE", "OFFSET"}}
	for _, d := range a.Differences {
		t.rows = append(t.rows, []string{d.Kind, d.ID, d.MessageID, d.Lane, d.Offset})
	}
	if p.output != "csv" {
		fmt.Fprintf(p.out, "audit %s of ids %s to %s: %s\n", a.ID, a.From, a.To, clean(line))
		for _, n := range a.Notes {
			fmt.Fprintln(p.out, "  "+clean(n))
		}
		if len(t.rows) == 0 {
			return nil
		}
	}
	return p.printTable(t)
}

func newAuditList(p *program) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the last audits, newest first", Args: cobra.NoArgs, RunE: p.do(func(ctx context.Context, _ []string) error {
		l, err := p.load(true)
		if err != nil {
			return err
		}
		all, err := app.Audits(ctx, l.Config)
		if err != nil {
			return err
		}
		t := table{kind: "AuditList", wide: 1, columns: []string{"ID", "VERDICT", "FROM", "TO", "ENDED", "ACTOR", "REASON", "RESULT"}}
		for _, run := range all {
			a := view.OfAudit(run)
			t.rows = append(t.rows, []string{a.ID, a.Verdict, a.From, a.To, clock(a.EndedAt), a.Actor, a.Reason, run.Line()})
			t.items, t.ids = append(t.items, a), append(t.ids, a.ID)
		}
		return p.printTable(t)
	})}
}

func newAuditGet(p *program) *cobra.Command {
	return &cobra.Command{Use: "get ID", Short: "One of the last audits, with its differences", Args: cobra.ExactArgs(1), RunE: p.do(func(ctx context.Context, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil || id < 1 {
			return usage(fmt.Sprintf("%q is no audit: a whole number, as audit list shows it", args[0]))
		}
		l, err := p.load(true)
		if err != nil {
			return err
		}
		run, err := app.AuditOf(ctx, l.Config, id)
		if err != nil {
			return err
		}
		return p.printAudit(view.OfWholeAudit(run), run.Line())
	})}
}
