package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

func newConfig(p *program) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check, print and explain the configuration", GroupID: groupSetUp, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("config needs a verb: check, test, print or explain")
		}}
	c.AddCommand(newConfigCheck(p), newConfigTest(p), newConfigPrint(p), newConfigExplain(p))
	return c
}

func newConfigCheck(p *program) *cobra.Command {
	var offline, strict bool
	c := &cobra.Command{Use: "check", Short: "Read the configuration, run its route tests, and connect to everything", Args: cobra.NoArgs,
		Long: "Reports every problem at once, each with file, line, column and path. Exits 78 when there is one."}
	c.Flags().BoolVar(&offline, "offline", false, "connect to nothing and read no secret")
	c.Flags().BoolVar(&strict, "strict", false, "a warning is a problem")
	c.RunE = p.do(func(ctx context.Context, _ []string) error {
		l, err := config.Load(config.Options{Path: p.configPath, Environ: p.environ, Strict: strict})
		if err != nil {
			return &exitError{exitConfig, err}
		}
		for _, w := range l.Warnings {
			p.note("%s", w)
		}
		return p.configCheck(ctx, l, offline)
	})
	return c
}

type checkView struct {
	File     string          `json:"file"`
	Warnings []string        `json:"warnings"`
	Problems []string        `json:"problems"`
	Findings []relay.Finding `json:"findings"`
}

func (p *program) configCheck(ctx context.Context, l *config.Loaded, offline bool) error {
	v := checkView{File: l.File, Warnings: []string{}, Problems: []string{}, Findings: []relay.Finding{}}
	for _, w := range l.Warnings {
		v.Warnings = append(v.Warnings, w.String())
	}
	failed, err := app.CheckRoutes(l.Config)
	if err != nil {
		failed = append(failed, err.Error())
	}
	v.Problems = append(v.Problems, failed...)
	if !offline {
		for _, s := range l.CheckSecrets() {
			v.Problems = append(v.Problems, s.String())
		}
		p.checkServers(ctx, l, &v)
	}
	err = p.printItem("ConfigCheck", v, "", func(w io.Writer) {
		for _, f := range v.Findings {
			fmt.Fprintf(w, "%-6s %s %s: %s\n", f.Level, f.ID, clean(f.Subject), clean(f.Text))
			if f.Fix != "" {
				fmt.Fprintf(w, "       fix: %s\n", clean(f.Fix))
			}
		}
		if len(v.Problems) == 0 {
			fmt.Fprintf(w, "%s is good\n", l.File)
		}
	})
	if err == nil && len(v.Problems) > 0 {
		return &exitError{exitConfig, errors.New(strings.Join(v.Problems, "\n"))}
	}
	return err
}

// checkServers connects to the database and to every destination.
func (p *program) checkServers(ctx context.Context, l *config.Loaded, v *checkView) {
	people, err := app.OpenPeople(l.Config)
	if err == nil {
		err = people.CheckSchema(ctx)
		people.Close()
	}
	if err != nil {
		v.Problems = append(v.Problems, "database: "+err.Error())
	} else {
		v.Findings = append(v.Findings, relay.Finding{ID: "database.schema", Level: relay.LevelOK, Subject: l.Database.Schema, Text: "the database answers and its schema fits"})
	}
	found := app.CheckDestinations(ctx, l.Config)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		for _, f := range found[name].Items {
			f.Subject = name + " " + f.Subject
			if v.Findings = append(v.Findings, f); f.Level == relay.LevelFail {
				v.Problems = append(v.Problems, "destinations."+name+": "+f.Text)
			}
		}
	}
}

func newConfigPrint(p *program) *cobra.Command {
	var origin bool
	c := &cobra.Command{Use: "print", Short: "Print the resolved configuration; secrets are ***", Args: cobra.NoArgs}
	c.Flags().BoolVar(&origin, "origin", false, "say where each value came from: file and line, variable, or default")
	c.RunE = p.do(func(context.Context, []string) error {
		l, err := p.load(true)
		if err != nil {
			return err
		}
		if p.output == "json" || p.output == "ndjson" {
			item := map[string]any{"config": l.Values()}
			if origin {
				item["origins"] = l.Origins()
			}
			return p.printItem("Config", item, "", nil)
		}
		_, err = p.out.Write(l.YAML(origin))
		return err
	})
	return c
}

func newConfigExplain(p *program) *cobra.Command {
	return &cobra.Command{Use: "explain [KEY]", Short: "Say what a key means, takes and defaults to; without KEY: all of them", Args: cobra.MaximumNArgs(1),
		Example: "  waybill config explain relay.lease\n  waybill config explain destinations.kafka-a.brokers",
		RunE: p.do(func(_ context.Context, args []string) error {
			if len(args) == 1 {
				found, err := config.Explain(args[0])
				if err != nil {
					return &exitError{exitNotFound, err}
				}
				if len(found) == 1 {
					return p.printItem("ConfigKey", found[0], found[0].Path, func(w io.Writer) { writeKey(w, found[0]) })
				}
				return p.printKeys(found)
			}
			return p.printKeys(config.Keys())
		})}
}

func (p *program) printKeys(keys []config.Key) error {
	t := table{kind: "ConfigKeyList", columns: []string{"KEY", "KIND", "DEFAULT", "RANGE", "HELP", "TAKES"}, wide: 1}
	for _, k := range keys {
		t.rows = append(t.rows, []string{k.Path, k.Kind, k.Default, k.Range, k.Help, k.Takes})
		t.items, t.ids = append(t.items, k), append(t.ids, k.Path)
	}
	return p.printTable(t)
}

func writeKey(w io.Writer, k config.Key) {
	fmt.Fprintf(w, "%s\n  %s\n  takes    %s\n", k.Path, k.Help, k.Takes)
	if k.Kind != "" {
		fmt.Fprintf(w, "  kind     %s\n", k.Kind)
	}
	if k.Default != "" {
		fmt.Fprintf(w, "  default  %s\n", k.Default)
	}
	if k.Range != "" {
		fmt.Fprintf(w, "  range    %s\n", k.Range)
	}
	if k.Restart {
		fmt.Fprintf(w, "  a change needs a new start\n")
	}
}
