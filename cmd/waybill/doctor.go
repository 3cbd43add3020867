package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/relay"
)

const doctorHelp = `Looks at the configuration, the database, its roles and rights, the relays, this machine and every broker, and says what does not keep its promise: how grave it
is, what shows it, what it does to messages, and the command or SQL that mends it. It changes nothing, and asks with the login of the configuration; what that login may
not see is unseen, never ok.

Exits 6 when a finding is fail; with --strict also when one is warn or unseen.`

// areaNames are what --only takes; two areas have a short name.
var areaNames = map[string]doctor.Area{"config": doctor.Config, "database": doctor.Database, "db": doctor.Database, "rights": doctor.Rights, "relay": doctor.Relay,
	"destination": doctor.Destination, "broker": doctor.Destination}

func newDoctor(p *program) *cobra.Command {
	var only []string
	var strict bool
	c := &cobra.Command{Use: "doctor", Short: "Is everything set up so that it keeps its promises? What to change, with the command", Long: doctorHelp, GroupID: groupSee, Args: cobra.NoArgs,
		Example: "  waybill doctor\n  waybill doctor --only db,rights -o json"}
	c.Flags().StringSliceVar(&only, "only", nil, "areas: config, database (db), rights, relay, destination (broker)")
	c.Flags().BoolVar(&strict, "strict", false, "warnings and what could not be seen count as errors")
	c.RunE = p.do(func(ctx context.Context, _ []string) error {
		areas, err := chosenAreas(only)
		if err != nil {
			return err
		}
		l, err := p.load(false)
		if err != nil {
			return err
		}
		found, err := app.Doctor(ctx, l, areas)
		if err != nil {
			return err
		}
		return p.doctorFindings(found, strict)
	})
	return c
}

func chosenAreas(names []string) (areas []doctor.Area, err error) {
	for _, name := range names {
		a, ok := areaNames[name]
		if !ok {
			return nil, usage(fmt.Sprintf("--only %s: there are config, database, rights, relay and destination", name))
		}
		areas = append(areas, a)
	}
	return areas, nil
}

func (p *program) doctorFindings(found []doctor.Finding, strict bool) error {
	if p.output == "table" && p.columns == nil {
		writeFindings(p.out, found)
	} else if err := p.printTable(findingTable(found)); err != nil {
		return err
	}
	worst := doctor.Worst(found)
	if worst == relay.LevelFail || strict && worst != relay.LevelOK {
		return &exitError{code: exitUnhealthy}
	}
	return nil
}

func findingTable(found []doctor.Finding) table {
	t := table{kind: "DoctorFindingList", columns: []string{"LEVEL", "CHECK", "SUBJECT", "TEXT", "FIX", "AREA", "EFFECT", "DOCS"}, wide: 3}
	for _, f := range found {
		t.rows = append(t.rows, []string{string(f.Level), f.ID, f.Subject, f.Text, f.Fix, string(f.Area), f.Effect, f.Docs})
		t.items, t.ids = append(t.items, f), append(t.ids, f.ID)
	}
	return t
}

// writeFindings shows what needs a person, and of the rest only how much of it there is.
func writeFindings(w io.Writer, found []doctor.Finding) {
	counts := map[relay.Level]int{}
	for _, f := range found {
		if counts[f.Level]++; f.Level == relay.LevelOK {
			continue
		}
		fmt.Fprintf(w, "%-6s %s  %s\n", strings.ToUpper(string(f.Level)), f.ID, clean(f.Subject))
		for _, line := range []struct{ label, text string }{{"", f.Text}, {"effect: ", f.Effect}, {"fix: ", f.Fix}} {
			if line.text != "" {
				fmt.Fprintf(w, "       %s%s\n", line.label, clean(line.text))
			}
		}
	}
	var sum []string
	for _, level := range []relay.Level{relay.LevelFail, relay.LevelWarn, relay.LevelUnseen, relay.LevelOK} {
		if counts[level] > 0 || level == relay.LevelOK {
			sum = append(sum, fmt.Sprintf("%d %s", counts[level], level))
		}
	}
	fmt.Fprintln(w, strings.Join(sum, ", ")+"; all of them: waybill doctor -o wide")
}
