package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
)

const runHelp = `Works the outbox of the configuration: waits for ownership, and as the owner hands committed messages to their destinations.
Several may run on one outbox: one owns it, the others stand by and take over.

SIGTERM or Ctrl-C drains: what is in flight is finished and settled, then the lease is given back. A second one ends at once with code 130.
The schema is never changed; a relay that finds it missing or old stays up, not ready, and looks again.`

func newRun(p *program) *cobra.Command {
	var level string
	c := &cobra.Command{Use: "run", Short: "Run the relay, with metrics and health", Long: runHelp, GroupID: groupRun, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if level != "" && !slices.Contains(logLevels, level) {
				return usage(fmt.Sprintf("--log-level %s: there are %s", level, strings.Join(logLevels, ", ")))
			}
			p.started = true
			l, err := p.load(false)
			if err != nil {
				return err
			}
			for _, w := range l.Warnings {
				p.note("%s", w)
			}
			if problems := l.CheckSecrets(); len(problems) > 0 {
				return &exitError{exitConfig, problems}
			}
			if level != "" {
				l.Logs.Level = level
			}
			defer endAtSecondSignal(c.Context())()
			// The first signal is the ordinary way to stop, not an interruption: Run drains and returns nil.
			if err := app.Run(c.Context(), app.RunOptions{Config: l.Config, LogTo: p.err, Version: app.Version()}); err != nil {
				return err
			}
			return nil
		}}
	c.Flags().StringVar(&level, "log-level", "", strings.Join(logLevels, ", ")+" (default: logs.level of the configuration)")
	return c
}

var logLevels = []string{"debug", "info", "warn", "error"}

// endAtSecondSignal ends the process at once when a person or the platform asks again while it drains. The function it returns ends the watching.
func endAtSecondSignal(ctx context.Context) (stop func()) {
	again, done := make(chan os.Signal, 2), make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		select {
		case <-again:
			fmt.Fprintln(os.Stderr, "waybill: stopped at once; what was not settled is still pending and is sent again")
			os.Exit(exitInterrupted)
		case <-done:
		}
	}()
	return func() {
		signal.Stop(again)
		close(done)
	}
}
