package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
)

const benchHelp = `Measures the relay on this machine. Every figure is a ratio of two things measured in turn, in the same run; the table shows the median and the spread
of the rounds, the floor that a figure has to reach, and how much of the machine other programs took meanwhile (above 10 % a figure is void).

PostgreSQL is found on this machine (15 or later) and started privately, with fsync on and its data on a disk, where the bundled broker's lies too. Every
timed run is checked: nothing lost, nothing twice, each key in order.`

func newBench(p *program) *cobra.Command {
	c := &cobra.Command{Use: "bench", Short: "Measure the relay on this machine", Long: benchHelp, GroupID: groupRun, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("bench needs a subject: store, drain, queues or broker")
		}}
	c.AddCommand(
		newBenchOf(p, &cobra.Command{Use: "store", Short: "Between the table and a publisher that confirms at once: S1 to S5, S9, S16 to S18, C1, C2, E4"},
			[]string{"S1", "S2", "S3", "S4", "S5", "S9", "C1", "C2", "S16", "S17", "S18", "E4"}, 500_000, app.BenchStore),
		newBenchOf(p, &cobra.Command{Use: "drain --kafka HOST:PORT", Short: "From PostgreSQL to a real Kafka: K3, K4, E1, L2"},
			[]string{"K3", "K4", "E1", "L2"}, 300_000, app.BenchDrain),
		newBenchOf(p, &cobra.Command{Use: "queues", Short: "From PostgreSQL to a RocketMQ or a RabbitMQ beside their own clients: R1, M1"},
			[]string{"R1", "M1"}, 100_000, app.BenchQueues),
		newBenchOf(p, &cobra.Command{Use: "broker", Short: "The bundled broker, one node, alone and behind the relay: B4, B6, B13, B17, B20, L1"},
			[]string{"B4", "B6", "B13", "B17", "B20", "L1"}, 500_000, app.BenchBroker),
		newBenchWorker(p))
	return c
}

// newBenchWorker is the process that a bench starts of itself, so that what it measures has CPU time and memory of its own.
func newBenchWorker(p *program) *cobra.Command {
	return &cobra.Command{Use: "worker", Hidden: true, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		p.started = true
		return app.BenchWork(c.Context(), p.in, p.out)
	}}
}

func newBenchOf(p *program, c *cobra.Command, ids []string, rows int64, measure func(context.Context, app.BenchOptions) ([]app.BenchFigure, error)) *cobra.Command {
	var o app.BenchOptions
	var asJSON, asGo bool
	c.Args = cobra.NoArgs
	f := c.Flags()
	f.IntVar(&o.Rounds, "rounds", 5, "how often each side is measured")
	f.Int64Var(&o.Rows, "rows", rows, "messages of a run")
	f.StringSliceVar(&o.Only, "only", nil, "measure these figures alone: "+strings.Join(ids, ", "))
	f.StringVar(&o.PgBin, "pg-bin", "", "folder with initdb and postgres (default: the newest found)")
	f.BoolVar(&o.Unsafe, "unsafe", false, "also on a server that can lose its data; every figure then says so")
	f.StringVar(&o.CPUProfile, "cpuprofile", "", "write a CPU profile of the last plain run of what is measured to this file")
	f.BoolVar(&asJSON, "json", false, "one object a line for each figure")
	f.BoolVar(&asGo, "benchfmt", false, "lines for benchstat, one for each round")
	c.MarkFlagsMutuallyExclusive("json", "benchfmt")
	if slices.Contains(ids, "K3") {
		f.StringSliceVar(&o.Kafka, "kafka", nil, "brokers of a Kafka cluster (required)")
		cobra.CheckErr(c.MarkFlagRequired("kafka"))
	}
	if slices.Contains(ids, "R1") {
		f.StringSliceVar(&o.RocketMQ, "rocketmq", nil, "name servers of a RocketMQ, HOST:PORT")
		f.StringVar(&o.RabbitMQ, "rabbitmq", "", "a RabbitMQ with the account guest, HOST:PORT")
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if o.Rounds < 1 || o.Rounds > 100 {
			return usage(fmt.Sprintf("--rounds is %d, must be 1 to 100", o.Rounds))
		}
		if o.Rows < 1000 || o.Rows > 10_000_000 {
			return usage(fmt.Sprintf("--rows is %d, must be 1000 to 10000000", o.Rows))
		}
		for i, id := range o.Only {
			if o.Only[i] = strings.ToUpper(id); !slices.Contains(ids, o.Only[i]) {
				return usage(fmt.Sprintf("--only %s: there are %s", id, strings.Join(ids, ", ")))
			}
		}
		p.started = true
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.Worker, o.Progress = []string{self, "bench", "worker"}, p.err
		if p.quiet {
			o.Progress = io.Discard
		}
		figures, err := measure(c.Context(), o)
		if err != nil {
			return err
		}
		switch {
		case asJSON:
			return app.WriteBenchJSON(p.out, figures)
		case asGo:
			return app.WriteBenchGo(p.out, figures)
		}
		return app.WriteBenchTable(p.out, figures)
	}
	return c
}
