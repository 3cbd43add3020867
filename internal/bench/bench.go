package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Options say what is measured. Worker is required; the zero value of everything else is its default.
type Options struct {
	Rounds int   // default 5. Fewer say little about the spread
	Rows   int64 // messages of a backlog. Default 500,000, for a drain 300,000. Below the default what has a time or a size of its own shrinks with it
	Only   []string
	PgBin  string // folder with initdb and postgres; empty = the newest found

	Kafka    []string // bootstrap addresses, host:port; a drain needs them
	RocketMQ []string // name servers, host:port
	RabbitMQ string   // host:port; the account is guest

	// Worker is a command whose standard input and output go to Work: the program itself.
	Worker []string
	// Unsafe accepts a server that can lose its data. Every figure then says so.
	Unsafe bool
	// NoFsync makes the server such a one: for tests of this package.
	NoFsync bool
	// CPUProfile is a file for a profile of what is measured, in the last plain run. Producers of a broker with another load than lanes add its name.
	CPUProfile string
	// Progress is told what happens, for a person. Default: nobody.
	Progress io.Writer
}

// Bench is a server with a backlog, a folder for the broker, and what is measured on them. It is not safe for concurrent use.
type Bench struct {
	opt     Options
	server  *server
	backlog *backlog
	ours    []int // processes that are part of the measurement
	topics  []*topic
	folder  string // for what the bundled broker writes; empty = not made
}

func newBench(opt Options, rows int64) *Bench {
	if opt.Rounds <= 0 {
		opt.Rounds = 5
	}
	if opt.Rows <= 0 {
		opt.Rows = rows
	}
	if opt.Progress == nil {
		opt.Progress = io.Discard
	}
	return &Bench{opt: opt, ours: append([]int{os.Getpid()}, listeners(slices.Concat(opt.Kafka, opt.RocketMQ, []string{opt.RabbitMQ}))...)}
}

// start starts what every bench of the relay needs.
func start(ctx context.Context, opt Options, rows int64) (*Bench, error) {
	b := newBench(opt, rows)
	if err := b.startServer(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *Bench) startServer(ctx context.Context) (err error) {
	if b.server, err = startServer(ctx, b.opt.PgBin, b.opt.Unsafe, b.opt.NoFsync); err != nil {
		return err
	}
	b.say("PostgreSQL %s, private, fsync %s", b.server.version, map[bool]string{false: "on", true: "off"}[b.opt.NoFsync])
	b.backlog, err = openBacklog(ctx, b.server.url, b.opt.Rows)
	return err
}

func (b *Bench) close() error {
	var err error
	for _, t := range b.topics {
		err = errors.Join(err, t.remove())
	}
	if b.backlog != nil && b.backlog.conn != nil {
		err = errors.Join(err, b.backlog.close())
	}
	if b.server != nil {
		err = errors.Join(err, b.server.close())
	}
	if b.folder != "" {
		err = errors.Join(err, os.RemoveAll(b.folder))
	}
	return err
}

// makeTopic makes a topic of this bench's. All are removed at its end: a broker deletes their files a minute later, and a disk that is busy with gigabytes of
// them would be in the figures.
func (b *Bench) makeTopic(ctx context.Context) (*topic, error) {
	t, err := makeTopic(ctx, b.opt.Kafka)
	if err == nil {
		b.topics = append(b.topics, t)
	}
	return t, err
}

// fill writes the backlog and warms up with one drain of it.
func (b *Bench) fill(ctx context.Context, warm func(context.Context, job) (sample, error)) error {
	b.say("writing %d messages of 1 KiB", b.opt.Rows)
	if err := b.backlog.fill(ctx, b.server.url); err != nil {
		return err
	}
	b.say("warming up")
	_, err := warm(ctx, job{})
	return err
}

func (b *Bench) say(format string, args ...any) { fmt.Fprintf(b.opt.Progress, format+"\n", args...) }

// wants says whether any of the figures is asked for.
func (b *Bench) wants(ids ...string) bool {
	return len(b.opt.Only) == 0 || slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(b.opt.Only, id) })
}

// rounds calls each measurement once a round, in turn, the other way round in every second round.
func (b *Bench) rounds(ctx context.Context, turns []turn) error {
	for n := range b.opt.Rounds {
		order := slices.Clone(turns)
		if n%2 == 1 {
			slices.Reverse(order)
		}
		for _, t := range order {
			s, err := t.measure(ctx)
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", n+1, t.name, err)
			}
			*t.into = append(*t.into, s)
			per100k := 100_000 / s.messages(b.opt.Rows)
			b.say("  round %d  %-22s %7.2f s  %8.0f rows/s   CPU-s per 100k: %.2f worker, %.2f PostgreSQL   foreign CPU %2.0f %%", n+1, t.name, s.seconds,
				s.rate(b.opt.Rows), s.cpu*per100k, s.serverCPU*per100k, 100*s.foreign)
		}
	}
	return nil
}

// turn is one measurement of a round.
type turn struct {
	name    string
	into    *[]sample
	measure func(context.Context) (sample, error)
}
