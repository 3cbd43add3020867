package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/config"
)

// program is what all commands share: its streams, its environment and the global flags.
type program struct {
	in       io.Reader
	out, err io.Writer
	environ  []string

	configPath string
	output     string
	columns    []string
	noHeader   bool
	quiet      bool
	timeout    time.Duration

	started bool // a command's own code ran: an error before that is a mistake in the arguments
}

// commands makes every command; a new one is added here.
var commands = []func(*program) *cobra.Command{
	newRun, newDemo, newStatus, newWhy, newDoctor, newMessage, newKey, newOperation, newDestination, newAudit, newBroker, newCache, newConfig, newMigrate, newAdopt, newAlert, newHealth,
	newBench, newVersion,
}

// The groups of the help page, in its order.
const (
	groupRun   = "run"
	groupSee   = "see"
	groupSetUp = "setup"
)

const rootHelp = `Waybill hands the messages of a transactional outbox to a broker: what was committed in PostgreSQL with your business rows is delivered at
least once, in order per key, and counts as sent only when the broker has confirmed it.

Commands talk straight to the database of the configuration; its roles decide who may see and act.

Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused or not confirmed, 5 partly done, 6 unhealthy, 7 timed out, 78 configuration,
130 interrupted.`

func (p *program) root() *cobra.Command {
	root := &cobra.Command{Use: "waybill", Short: "A transactional outbox relay for PostgreSQL", Long: rootHelp, SilenceErrors: true, SilenceUsage: true}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.AddGroup(&cobra.Group{ID: groupRun, Title: "Run"}, &cobra.Group{ID: groupSee, Title: "See and act"}, &cobra.Group{ID: groupSetUp, Title: "Set up"})
	f := root.PersistentFlags()
	f.StringVarP(&p.configPath, "config", "c", "", "configuration file (default: config.yaml, if there is one)")
	f.StringVarP(&p.output, "output", "o", "table", "table, wide, json, yaml, ndjson, csv or id")
	f.StringSliceVar(&p.columns, "columns", nil, "columns of a table or csv, by name")
	f.BoolVar(&p.noHeader, "no-header", false, "no header in a table or csv")
	f.BoolVarP(&p.quiet, "quiet", "q", false, "say nothing but results and errors")
	f.DurationVar(&p.timeout, "timeout", 0, "longest time (default 30s; migrate and acts on messages 10m)")
	for _, make := range commands {
		root.AddCommand(make(p))
	}
	root.SetHelpCommandGroupID(groupSetUp)
	root.SetCompletionCommandGroupID(groupSetUp)
	return root
}

// run executes one command line and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if !p.started && code == exitFailed {
		code = exitUsage
	}
	if ctx.Err() != nil {
		code = exitInterrupted
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(p.err, "waybill:", text)
	}
	if code == exitUsage {
		fmt.Fprintln(p.err, "run with --help for how it is used")
	}
	return code
}

// do wraps the code of a command: it marks that the arguments were understood, and bounds it in time.
func (p *program) do(work func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return p.doWithin(30*time.Second, work)
}

// doWithin is do with a longest time of the command's own; --timeout overrides it.
func (p *program) doWithin(longest time.Duration, work func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		if err := p.checkOutput(); err != nil {
			return err
		}
		p.started = true
		if p.timeout > 0 {
			longest = p.timeout
		}
		ctx, cancel := context.WithTimeout(c.Context(), longest)
		defer cancel()
		err := work(ctx, args)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &exitError{exitTimedOut, fmt.Errorf("%w (after %s; --timeout gives more)", err, longest)}
		}
		return err
	}
}

// note tells a person something beside the result.
func (p *program) note(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.err, format+"\n", args...)
	}
}

// load reads the configuration; commands that only talk to the database need no more than its section.
func (p *program) load(databaseOnly bool) (*config.Loaded, error) {
	l, err := config.Load(config.Options{Path: p.configPath, Environ: p.environ, DatabaseOnly: databaseOnly})
	if err != nil {
		return nil, &exitError{exitConfig, err}
	}
	return l, nil
}

// people opens the database for questions and acts.
func (p *program) people(work func(*app.People) error) error {
	l, err := p.load(true)
	if err != nil {
		return err
	}
	people, err := app.OpenPeople(l.Config)
	if err != nil {
		return err
	}
	defer people.Close()
	return work(people)
}

// isTerminal says whether a stream is a terminal; then a person can be asked.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}
