package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/migrations"
)

// migrateLimit is long: a migration waits for others and tries again when it meets a lock.
const migrateLimit = 10 * time.Minute

func newMigrate(p *program) *cobra.Command {
	var single bool
	c := &cobra.Command{Use: "migrate", Short: "Create, upgrade and print the database schema", GroupID: groupSetUp, Args: cobra.NoArgs,
		Long: "The relay itself never changes the schema. Migrations need a login with CREATEROLE the first time, later a member of <schema>_migrator.",
		RunE: func(*cobra.Command, []string) error { return usage("migrate needs a verb: up, down, status or print") }}
	c.PersistentFlags().BoolVar(&single, "single-role", false, "for servers where roles cannot be created: one login owns and does everything")
	c.AddCommand(newMigrateUp(p, &single), newMigrateDown(p, &single), newMigrateStatus(p, &single), newMigratePrint(p, &single))
	return c
}

// schemaOf returns where to migrate and which outbox.
func (p *program) schemaOf(single bool) (string, migrations.Options, error) {
	l, err := p.load(true)
	if err != nil {
		return "", migrations.Options{}, err
	}
	url, err := app.MigrationURL(l.Config)
	return url, migrations.Options{Schema: l.Database.Schema, SingleRole: single}, err
}

type migrationView struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	AppliedAt time.Time `json:"applied_at,omitzero"`
	TookMS    float64   `json:"took_ms,omitempty"`
}

func (p *program) printMigrations(did []migrations.Migration, err error) error {
	t := table{kind: "MigrationList", columns: []string{"VERSION", "NAME", "TOOK"}}
	for _, m := range did {
		t.rows = append(t.rows, []string{strconv.FormatInt(m.Version, 10), m.Name, m.Took.Round(time.Millisecond).String()})
		t.items = append(t.items, migrationView{Version: m.Version, Name: m.Name, TookMS: float64(m.Took.Microseconds()) / 1000})
		t.ids = append(t.ids, strconv.FormatInt(m.Version, 10))
	}
	if err != nil && len(did) == 0 {
		return err
	}
	if len(did) == 0 {
		p.note("nothing to do")
	}
	if printErr := p.printTable(t); printErr != nil {
		return printErr
	}
	return err
}

func newMigrateUp(p *program, single *bool) *cobra.Command {
	return &cobra.Command{Use: "up", Short: "Apply every migration that the database does not have", Args: cobra.NoArgs,
		RunE: p.doWithin(migrateLimit, func(ctx context.Context, _ []string) error {
			url, o, err := p.schemaOf(*single)
			if err != nil {
				return err
			}
			return p.printMigrations(migrations.Up(ctx, url, o))
		})}
}

func newMigrateDown(p *program, single *bool) *cobra.Command {
	var to int64
	var yes bool
	c := &cobra.Command{Use: "down --to N", Short: "Take migrations back; refused while messages are pending or held", Args: cobra.NoArgs,
		Long: "Takes back every migration above --to, newest first; 0 removes all of them and every message with them. Refused while messages are pending or held."}
	c.Flags().Int64Var(&to, "to", 0, "version that stays (required)")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cobra.CheckErr(c.MarkFlagRequired("to"))
	c.RunE = p.doWithin(migrateLimit, func(ctx context.Context, _ []string) error {
		if to < 0 {
			return usage("--to is a version, 0 or more")
		}
		url, o, err := p.schemaOf(*single)
		if err != nil {
			return err
		}
		err = p.confirm(yes, false, func(w io.Writer) {
			fmt.Fprintf(w, "PLAN migrate down to version %d in schema %s: tables above it are dropped with everything in them\n", to, o.Schema)
		})
		if err != nil {
			return err
		}
		return p.printMigrations(migrations.Down(ctx, url, o, to))
	})
	return c
}

func newMigrateStatus(p *program, single *bool) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "List the migrations and which of them the database has", Args: cobra.NoArgs,
		RunE: p.do(func(ctx context.Context, _ []string) error {
			url, o, err := p.schemaOf(*single)
			if err != nil {
				return err
			}
			states, err := migrations.Status(ctx, url, o)
			if err != nil {
				return err
			}
			t := table{kind: "MigrationList", columns: []string{"VERSION", "NAME", "APPLIED"}}
			for _, s := range states {
				applied := clock(s.AppliedAt)
				if s.AppliedAt.IsZero() {
					applied = "no"
				}
				t.rows = append(t.rows, []string{strconv.FormatInt(s.Version, 10), s.Name, applied})
				t.items, t.ids = append(t.items, migrationView{Version: s.Version, Name: s.Name, AppliedAt: s.AppliedAt.UTC()}), append(t.ids, strconv.FormatInt(s.Version, 10))
			}
			return p.printTable(t)
		})}
}

func newMigratePrint(p *program, single *bool) *cobra.Command {
	var format, schema string
	c := &cobra.Command{Use: "print", Short: "Print the migrations as SQL for this or another tool", Args: cobra.NoArgs,
		RunE: p.do(func(context.Context, []string) error {
			if !slices.Contains(migrations.Formats, migrations.Format(format)) {
				return usage(fmt.Sprintf("--format %s: there are %v", format, migrations.Formats))
			}
			o := migrations.Options{Schema: schema, SingleRole: *single}
			if err := o.Validate(); err != nil {
				return usage(err.Error())
			}
			return migrations.Print(p.out, migrations.Format(format), o)
		})}
	c.Flags().StringVar(&format, "format", string(migrations.Plain), fmt.Sprintf("one of %v", migrations.Formats))
	c.Flags().StringVar(&schema, "schema", migrations.DefaultSchema, "schema of the outbox")
	return c
}
