package relay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Options are what a Relay needs. Start from Defaults; New validates. Durations are wall time, sizes bytes.
type Options struct {
	Instance string // name of this relay: host plus a random part; stored with attempts and shown to people
	Address  string // where its metrics listen, for people; may be empty

	Store  Store
	Waker  Waker  // nil = polling only
	Pauser Pauser // nil = people stop nothing
	Events Events
	// Cache gives the degraded cache for an ownership that begins. An error is told by Events.Failed, and the ownership has none. It may block for the disk.
	// May be nil: no cache.
	Cache func(Lease) (Cache, error)

	Destinations []Destination
	Routes       []Route // first match wins

	Lease        time.Duration // what the database grants; renewed every Lease / 6. Longer: a killed owner is replaced later. Default 30 s
	WriteTimeout time.Duration // deadline of a write to a broker. Default 5 s
	TCPTimeout   time.Duration // how long the kernel keeps unacknowledged bytes of a broker connection alive. Default 5 s
	Quarantine   time.Duration // how long a new owner of an expired lease sends nothing to brokers without a fence; at least the sum of the two above. Default 10 s

	ReadRows    int           // rows of a page. Default 2,000, measured: fewer cost round trips, more cost memory and latency
	PageBytes   int           // inline payload bytes of a page. Default 8 MiB
	InlineBytes int           // larger payloads are fetched when their lane is ready. Default 64 KiB
	Ahead       int           // rows read and not yet acked. Default 12,000: six pages
	AheadBytes  int           // the same in bytes. Default 64 MiB
	PollBusy    time.Duration // pause after a read while messages trickle; doubles twice while reads are empty. Default 1 ms
	PollIdle    time.Duration // longest pause of an idle reader. Default 250 ms

	SettleMessages int           // messages of one settlement. Default 5,000
	SettleDelay    time.Duration // longest wait for more of them. Default 5 ms
	SettleBatches  int           // full batches of a lane that may be acked and not settled; the bound on repeats after a kill is (1 + this) batches. Default 4

	OpenAfter    int           // failures in a row that open a breaker. Default 3
	ProbeInitial time.Duration // first pause before a probe. Default 250 ms
	ProbeCap     time.Duration // longest pause between probes. Default 30 s

	ShutdownTimeout time.Duration // to finish what is in flight after Run's ctx has ended. Default 25 s
}

// Destination is one configured broker.
type Destination struct {
	Name         string
	Capabilities Capabilities
	// New makes an unopened publisher, without network. It is called for each ownership and after lanes changed; the engine closes what it made.
	New func() (Publisher, error)
	// Opened is called after each successful Open, before the first Publish: the place to pin which cluster the name stands for. A *ConfigError pauses
	// the destination. May be nil.
	Opened func(Publisher) error
	// PublishTimeout bounds one Publish. Default 20 s.
	PublishTimeout time.Duration
}

// Retry says how often unknown outcomes are tried again. Rejected messages are dead at once, and outages cost nothing.
type Retry struct {
	Initial     time.Duration // first pause, then doubling, with full jitter
	Cap         time.Duration // longest pause
	MaxAttempts int           // then dead
	MaxAge      time.Duration // since the first failure, then dead
}

// DefaultRetry gives 20 attempts: 27 minutes on average, 54 at most.
func DefaultRetry() Retry {
	return Retry{Initial: 500 * time.Millisecond, Cap: 5 * time.Minute, MaxAttempts: 20, MaxAge: 24 * time.Hour}
}

// Defaults returns fresh Options with every default set.
func Defaults() Options {
	return Options{
		Lease: 30 * time.Second, WriteTimeout: 5 * time.Second, TCPTimeout: 5 * time.Second, Quarantine: 10 * time.Second,
		ReadRows: 2000, PageBytes: 8 << 20, InlineBytes: 64 << 10, Ahead: 12000, AheadBytes: 64 << 20,
		PollBusy: time.Millisecond, PollIdle: 250 * time.Millisecond,
		SettleMessages: 5000, SettleDelay: 5 * time.Millisecond, SettleBatches: 4,
		OpenAfter: 3, ProbeInitial: 250 * time.Millisecond, ProbeCap: 30 * time.Second,
		ShutdownTimeout: 25 * time.Second,
	}
}

// trust is how long the owner believes in a lease, counted from before the statement that granted it.
func (c *Options) trust() time.Duration { return c.Lease - c.WriteTimeout - c.TCPTimeout }

func (c *Options) renewEvery() time.Duration { return c.Lease / 6 }

// Validate reports every problem at once.
func (c *Options) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("relay: "+format, args...))
		}
	}
	for _, n := range []struct {
		name string
		v    int
	}{{"read rows", c.ReadRows}, {"page bytes", c.PageBytes}, {"inline bytes", c.InlineBytes}, {"ahead", c.Ahead}, {"ahead bytes", c.AheadBytes},
		{"settle messages", c.SettleMessages}, {"settle batches", c.SettleBatches}, {"open after", c.OpenAfter}} {
		check(n.v > 0, "%s is %d, must be at least 1", n.name, n.v)
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"lease", c.Lease}, {"write timeout", c.WriteTimeout}, {"tcp user timeout", c.TCPTimeout}, {"busy poll", c.PollBusy}, {"idle poll", c.PollIdle},
		{"settle delay", c.SettleDelay}, {"probe initial", c.ProbeInitial}, {"probe cap", c.ProbeCap}} {
		check(d.v > 0, "%s is %s, must be above zero", d.name, d.v)
	}
	sum := c.WriteTimeout + c.TCPTimeout
	check(2*c.Lease >= 3*sum, "lease %s is shorter than 1.5 x (write timeout + tcp user timeout) = %s: an old owner could still write", c.Lease, sum*3/2)
	check(2*c.renewEvery() <= c.trust(), "lease %s leaves %s of trust, less than two renewals of %s", c.Lease, c.trust(), c.renewEvery())
	check(c.Quarantine >= sum, "quarantine %s is shorter than write timeout + tcp user timeout = %s", c.Quarantine, sum)
	seen := map[string]bool{}
	for _, d := range c.Destinations {
		check(d.Name != "", "a destination has no name")
		check(!seen[d.Name], "destination %q is named twice", d.Name)
		check(d.New != nil, "destination %q has no publisher", d.Name)
		check(d.Capabilities.MaxBatch > 0 && d.Capabilities.MaxBytes > 0, "destination %q has no batch limits", d.Name)
		seen[d.Name] = true
	}
	for i, r := range c.Routes {
		check(seen[r.Destination], "route %d (%s) names destination %q, which is not configured", i+1, r.Name, r.Destination)
	}
	if _, err := NewRouter(c.Routes); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// backoff is the pause before try n (0 = the first repeat): full jitter over a doubling that stops at limit. It never overflows.
func backoff(n int, initial, limit time.Duration) time.Duration {
	d := limit
	if n < 40 && initial<<n > 0 && initial<<n < limit && initial<<n>>n == initial {
		d = initial << n
	}
	return time.Duration(rand.Int64N(int64(max(d, 1))) + 1)
}
