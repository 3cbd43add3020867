package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
)

const brokerRunHelp = `EXPERIMENTAL. Runs a bundled broker of one node without a relay: Kafka's clients on this machine make topics, produce and consume, alone or in
consumer groups. Every record is on the disk before its acknowledgement. There is no second copy of it, and nobody is asked who they are, so it listens on loopback only.

SIGTERM or Ctrl-C ends it in order. What it does not offer: transactions, compaction, changes of a topic's settings, TLS and logins.`

func newBrokerRun(p *program) *cobra.Command {
	var o app.BrokerRunOptions
	c := &cobra.Command{Use: "run --dir DIR", Short: "Experimental: a broker of one node for Kafka's clients of this machine", Long: brokerRunHelp, Args: cobra.NoArgs,
		Example: "  waybill broker run --dir events --listen 127.0.0.1:9092"}
	dir := folderFlag(c)
	c.Flags().StringVar(&o.Listen, "listen", "127.0.0.1:9092", "address for clients, which they are told to connect to")
	c.RunE = func(c *cobra.Command, _ []string) error {
		p.started = true
		o.Dir, o.Log = *dir, slog.New(slog.NewTextHandler(p.err, nil))
		defer endAtSecondSignal(c.Context())()
		return app.BrokerRun(c.Context(), o)
	}
	return c
}
