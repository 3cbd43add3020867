// Package config reads config.yaml into typed values: strictly, with all problems at once, each with file, line, column and path. Other packages never see
// YAML; internal/app maps what is read here to each package's own configuration.
//
// Absent on purpose: text expansion ($ is a letter), includes, anchors, keys that do not work yet.
package config

import "time"

// Config is everything that can be configured. The struct tags carry unit-free texts, ranges and choices; they are the reference of `waybill config explain`.
type Config struct {
	Version      int           `key:"version" required:"true" min:"1" max:"1" help:"version of this file's format"`
	Name         string        `key:"name" required:"true" form:"name" help:"name of this outbox: label of metrics, logs and activity"`
	Database     Database      `key:"database" restart:"true" help:"the database that the producers write to"`
	Relay        Relay         `key:"relay" help:"the engine: lease, reading, settling"`
	Retry        Retry         `key:"retry" help:"retries of unknown outcomes, for every route that does not say otherwise; rejected is dead at once, an outage costs nothing"`
	OnDead       string        `key:"on_dead" enum:"block|skip" help:"what the later messages of a key do when one is dead: wait for a person, or go on"`
	Breaker      Breaker       `key:"breaker" help:"when a destination is left alone and how it is probed"`
	Cache        Cache         `key:"cache" restart:"true" help:"the degraded cache: where claimed messages of a broker that is down wait, on a local disk"`
	Destinations []Destination `key:"destinations" keyed:"Name" required:"true" help:"the brokers, by name; no key for acks: the weaker setting would break the promise"`
	Routes       []Route       `key:"routes" required:"true" help:"topic to destination: the first that matches wins; the last should match everything"`
	RouteTests   []RouteTest   `key:"route_tests" help:"examples that config check runs against the routes"`
	Retention    Retention     `key:"retention" help:"how long sent messages stay; whole partitions are dropped, rows are never deleted one by one"`
	Broker       Broker        `key:"broker" restart:"true" help:"the bundled broker in this process, one node; a destination of kind waybillbroker sends to it"`
	Privacy      Privacy       `key:"privacy" help:"what people are not shown"`
	Dashboard    Dashboard     `key:"dashboard" help:"the pages for the person on call"`
	Alerts       Alerts        `key:"alerts" help:"one signed webhook for what a person should look at"`
	Metrics      Metrics       `key:"metrics" help:"the listener of metrics and health"`
	Logs         Logs          `key:"logs" help:"log lines on standard error"`
}

// Destination finds a destination by its name; nil when there is none.
func (c *Config) Destination(name string) *Destination {
	for i := range c.Destinations {
		if c.Destinations[i].Name == name {
			return &c.Destinations[i]
		}
	}
	return nil
}

// Database says where the outbox lies.
type Database struct {
	URL       Secret   `key:"url" required:"true" restart:"true" help:"postgres://… of the primary, with the relay's login"`
	DirectURL Secret   `key:"direct_url" null:"true" restart:"true" help:"for LISTEN and migrations when url goes through a transaction pooler; null: url"`
	Schema    string   `key:"schema" form:"schema" restart:"true" help:"schema of the outbox, and prefix of its roles"`
	Timeouts  Timeouts `key:"timeouts" help:"of the relay's connections; lease, claim and housekeeping have their own"`
}

// Timeouts bound what the relay asks of the database.
type Timeouts struct {
	Connect   time.Duration `key:"connect" min:"100ms" max:"5m" help:"until a connection is made"`
	Statement time.Duration `key:"statement" min:"100ms" max:"10m" help:"of reading and settling"`
	Inspect   time.Duration `key:"dashboard_statement" min:"100ms" max:"1m" help:"of statements for people: status, why, lists"`
}

// Relay configures the engine.
type Relay struct {
	Instance        string        `key:"instance" null:"true" form:"name" restart:"true" help:"name of this process among the relays; null: host name and 4 hex digits"`
	Lease           time.Duration `key:"lease" min:"100ms" max:"10m" restart:"true" help:"how long the database grants ownership; renewed every sixth of it. Short: a pause changes the owner. Long: a killed owner is missed longer"`
	WriteTimeout    time.Duration `key:"write_timeout" min:"10ms" max:"1m" restart:"true" help:"deadline of every write to a broker's socket"`
	TCPUserTimeout  time.Duration `key:"tcp_user_timeout" min:"10ms" max:"1m" restart:"true" help:"how long the kernel keeps bytes that the broker has not acknowledged"`
	Quarantine      time.Duration `key:"quarantine" min:"20ms" max:"1h" restart:"true" help:"silence after an expired lease was taken over, before the first byte to a broker without fence; set it above the longest broker pause to survive"`
	Read            Read          `key:"read" help:"pages, and what may wait in lanes"`
	Poll            Poll          `key:"poll" help:"pauses of a reader that found nothing"`
	Settle          Settle        `key:"settle" help:"how outcomes are grouped into one write"`
	WriteLimits     bool          `key:"write_limits" help:"keep outbox.limits at the brokers' real size limits, so that outbox.publish refuses what the broker would refuse"`
	StuckAfter      time.Duration `key:"stuck_after" min:"1s" max:"30d" help:"pending messages older than this count as stuck"`
	MaxUnsent       OrNone[Count] `key:"max_unsent" min:"1000" max:"1000000000000" help:"brake: with more ids than this above the low-water mark outbox.publish fails with OB006, also when no relay runs"`
	ShutdownTimeout time.Duration `key:"shutdown_timeout" min:"100ms" max:"10m" help:"for what is in flight when the relay stops; keep it below the platform's grace period"`
}

// Read bounds reading.
type Read struct {
	Batch      int  `key:"batch" min:"1" max:"20000" help:"rows of one page"`
	Ahead      int  `key:"ahead" min:"1" max:"1000000" help:"messages read and not yet acked"`
	AheadBytes Size `key:"ahead_bytes" min:"1MiB" max:"16GiB" help:"bytes that may wait in lanes"`
}

// Poll says how often an idle reader looks.
type Poll struct {
	Busy   time.Duration `key:"busy" min:"1ms" max:"10s" help:"pause at a steady trickle"`
	Idle   time.Duration `key:"idle" min:"1ms" max:"1m" help:"longest pause"`
	Notify string        `key:"notify" enum:"when-idle|none" help:"be woken by NOTIFY as soon as a pause would be longer than 20 ms"`
}

// Settle bounds groups of outcomes.
type Settle struct {
	MaxMessages       int           `key:"max_messages" min:"1" max:"50000" help:"messages of one write"`
	MaxDelay          time.Duration `key:"max_delay" min:"1ms" max:"1s" help:"longest wait of the first outcome of a group"`
	MaxBatchesPerLane int           `key:"max_batches_per_lane" min:"1" max:"64" help:"full batches of a lane that may be acked and not settled; part of the bound on duplicates"`
}

// Retry is the schedule of one message that failed.
type Retry struct {
	Initial     time.Duration         `key:"initial" min:"1ms" max:"1h" help:"longest pause before the first retry; full jitter, doubling"`
	Cap         time.Duration         `key:"cap" min:"1ms" max:"1d" help:"longest pause"`
	MaxAttempts OrNone[Count]         `key:"max_attempts" min:"1" max:"1000000" help:"attempts after which it is dead; outages do not count"`
	MaxAge      OrNone[time.Duration] `key:"max_age" min:"1s" max:"365d" help:"time since its first failure after which it is dead"`
}

// Breaker says when a destination is left alone.
type Breaker struct {
	OpenAfter    int           `key:"open_after" min:"1" max:"1000" help:"failures in a row with no lane acked"`
	ProbeInitial time.Duration `key:"probe_initial" min:"1ms" max:"1h" help:"longest pause before the first probe; full jitter, doubling"`
	ProbeCap     time.Duration `key:"probe_cap" min:"1ms" max:"1h" help:"longest pause between probes; there is no maximum elapsed time"`
}

// Cache configures the degraded cache.
type Cache struct {
	Enabled  bool   `key:"enabled" restart:"true" help:"keep messages of a broker that is down on this disk; without it they wait in the table alone"`
	Dir      string `key:"dir" restart:"true" help:"its folder, of this relay alone; deleting it at any moment loses no message"`
	MaxBytes Size   `key:"max_bytes" min:"64MiB" max:"1024GiB" restart:"true" help:"from there on it refuses, and the table alone goes on"`
	MinFree  Size   `key:"min_free" min:"1MiB" max:"1024GiB" restart:"true" help:"what stays free on the file system; below it the cache refuses"`
}

// Retention says how long what is done stays.
type Retention struct {
	Sent OrNone[time.Duration] `key:"sent" min:"1m" max:"3650d" help:"how long sent messages stay readable, and a discard can be taken back; none: for ever"`
}

// Metrics configures the listener of metrics and health.
type Metrics struct {
	Listen    string `key:"listen" form:"address" restart:"true" help:"address of metrics and health; 0.0.0.0:9464 in a container"`
	Path      string `key:"path" form:"path" restart:"true" help:"path of the metrics"`
	TopicsMax int    `key:"topics_max" min:"1" max:"100000" restart:"true" help:"topics with series of their own; the others share __other__"`
}

// Logs configures log lines.
type Logs struct {
	Level       string       `key:"level" enum:"debug|info|warn|error" help:"lowest level that is written"`
	Format      string       `key:"format" enum:"auto|text|json" help:"auto: text on a terminal, json elsewhere"`
	PerClassMax OrNone[Rate] `key:"per_class_max" min:"1/s" max:"1000000/s" help:"lines of one kind; what is above is summed up once a minute"`
}

// Default returns a fresh configuration with every default. It has no name, no database, no destination and no route.
func Default() *Config {
	return &Config{
		Version:  1,
		Database: Database{Schema: "outbox", Timeouts: Timeouts{Connect: 5 * time.Second, Statement: 10 * time.Second, Inspect: 2 * time.Second}},
		Relay: Relay{
			Lease: 30 * time.Second, WriteTimeout: 5 * time.Second, TCPUserTimeout: 5 * time.Second, Quarantine: 10 * time.Second,
			Read:   Read{Batch: 2000, Ahead: 12_000, AheadBytes: 64 * MiB},
			Poll:   Poll{Busy: time.Millisecond, Idle: 250 * time.Millisecond, Notify: "when-idle"},
			Settle: Settle{MaxMessages: 5000, MaxDelay: 5 * time.Millisecond, MaxBatchesPerLane: 4},

			WriteLimits: true, StuckAfter: time.Minute, MaxUnsent: None[Count](), ShutdownTimeout: 25 * time.Second,
		},
		Retry:     Retry{Initial: 500 * time.Millisecond, Cap: 5 * time.Minute, MaxAttempts: Some[Count](20), MaxAge: Some(24 * time.Hour)},
		OnDead:    "block",
		Breaker:   Breaker{OpenAfter: 3, ProbeInitial: 250 * time.Millisecond, ProbeCap: 30 * time.Second},
		Retention: Retention{Sent: Some(72 * time.Hour)},
		Cache:     Cache{Enabled: true, Dir: "/var/lib/waybill/cache", MaxBytes: 4 * GiB, MinFree: GiB},
		Broker:    DefaultBroker(),
		Privacy:   DefaultPrivacy(),
		Dashboard: DefaultDashboard(),
		Alerts:    DefaultAlerts(),
		Metrics:   Metrics{Listen: "127.0.0.1:9464", Path: "/metrics", TopicsMax: 100},
		Logs:      Logs{Level: "info", Format: "auto", PerClassMax: Some[Rate](10)},
	}
}
