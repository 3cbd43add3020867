package lint

// Imports says what the packages at and below Package may import of this module; the longest Package that fits counts. An entry of May covers what lies
// below it. A package may always import what lies below its own line.
type Imports struct {
	Package  string
	May      []string
	Standard bool // no library either: the standard library alone
	TestOnly bool // for tests and programs around them: no other package imports it, and only here may files that are no tests import "testing"
}

// everything of this module that is not for tests only.
var everything = []string{"."}

var importTable = []Imports{
	// beside the composition root: the plain types that commands print and parse, and the numbered files
	{Package: "cmd", May: []string{"internal/app", "internal/config", "internal/doctor", "internal/view", "migrations", "relay"}},
	{Package: "internal/app", May: everything},

	{Package: "outbox", Standard: true},
	{Package: "outbox/outboxtest", May: []string{"outbox"}, Standard: true, TestOnly: true},
	{Package: "relay", May: []string{"outbox", "internal/glob", "internal/kp"}},
	{Package: "relay/relaytest", May: []string{"relay", "outbox", "internal/kp"}, TestOnly: true},
	{Package: "adapters", May: []string{"relay", "outbox", "internal/kp"}},
	{Package: "adapters/waybillbroker", May: []string{"relay", "outbox", "internal/kp", "internal/broker", "adapters/internal"}},
	{Package: "deploy", TestOnly: true},
	{Package: "migrations"},

	{Package: "internal/alerts", May: []string{"relay"}},
	{Package: "internal/audit", May: []string{"relay", "outbox"}},
	{Package: "internal/bench", May: everything},
	{Package: "internal/broker", May: []string{"internal/kp"}},
	{Package: "internal/broker/group", May: []string{"internal/kp"}, Standard: true},
	{Package: "internal/broker/modelcheck", May: []string{"internal/broker/fsm"}, TestOnly: true},
	{Package: "internal/child", Standard: true},
	{Package: "internal/config", May: []string{"internal/mask"}},
	{Package: "internal/dashboard", May: []string{"relay", "outbox", "internal/httpserver", "internal/audit", "internal/doctor", "internal/glob", "internal/mask", "internal/view"}},
	{Package: "internal/doctor", May: []string{"relay", "adapters/postgres"}},
	{Package: "internal/embedded", May: []string{"internal/child"}, Standard: true},
	{Package: "internal/glob", Standard: true},
	{Package: "internal/httpserver", Standard: true},
	{Package: "internal/kp", Standard: true},
	{Package: "internal/mask", May: []string{"internal/glob"}, Standard: true},
	{Package: "internal/spool", May: []string{"relay", "internal/broker/commitlog", "internal/broker/vfs", "internal/kp"}},
	{Package: "internal/telemetry", May: []string{"relay", "internal/broker", "internal/httpserver"}},
	{Package: "internal/view", May: []string{"relay", "internal/audit"}},

	{Package: "internal/checker", May: []string{".", "relay/relaytest", "outbox/outboxtest", "internal/testservices"}, TestOnly: true},
	{Package: "internal/kp/kptest", May: []string{"internal/kp"}, Standard: true, TestOnly: true},
	{Package: "internal/lint", Standard: true, TestOnly: true},
	{Package: "internal/testreport", Standard: true, TestOnly: true},
	{Package: "internal/testservices", May: []string{"internal/child", "internal/embedded"}, TestOnly: true},
}

// Dependency is a library that this module imports itself.
type Dependency struct {
	Module string
	Reason string
	In     []string // packages that may import it, with what lies below them; tests may import it everywhere
}

var dependencies = []Dependency{
	{"github.com/jackc/pgx/v5", "the PostgreSQL driver: COPY, LISTEN, pipelines and typed error codes that database/sql hides",
		[]string{"adapters/postgres", "migrations", "internal/app", "internal/bench"}},
	{"github.com/go-co-op/gocron/v2", "the fallback scan, housekeeping and retention run at intervals and never twice at once",
		[]string{"internal/app", "relay"}},
	{"github.com/segmentio/kafka-go", "Kafka's wire protocol and connections; the idempotent batches on top are ours",
		[]string{"adapters/kafka", "internal/app", "internal/audit", "internal/bench"}},
	{"github.com/rabbitmq/amqp091-go", "RabbitMQ's protocol: frames, channels, confirms; generations, order and returns on top are ours",
		[]string{"adapters/rabbitmq", "internal/bench"}},
	{"github.com/apache/rocketmq-client-go/v2", "RocketMQ's sends and heartbeats; queues, retries and questions are ours",
		[]string{"adapters/rocketmq", "internal/bench"}},
	{"github.com/pressly/goose/v3", "applies the numbered SQL files under a lock and records them", []string{"migrations"}},
	{"github.com/spf13/cobra", "commands, flags and help", []string{"cmd"}},
	{"go.yaml.in/yaml/v3", "config.yaml with line and column of each node; output as YAML", []string{"internal/config", "cmd"}},
	{"github.com/prometheus/client_golang", "counters and histograms behind /metrics", []string{"internal/telemetry", "internal/app"}},
	{"go.etcd.io/raft/v3", "replication under the bundled broker: elections, log matching and membership as etcd has run them for years",
		[]string{"internal/broker/replica"}},
	{"golang.org/x/crypto", "bcrypt, in which htpasswd and others write passwords of the dashboard",
		[]string{"internal/dashboard"}},
	{"golang.org/x/sync", "the bound on bytes that wait for the bundled broker's disk: a semaphore by weight, with a context",
		[]string{"internal/broker"}},

	{"github.com/chromedp/chromedp", "tests: drives a real Chromium through the DevTools protocol", nil},
	{"github.com/chromedp/cdproto", "tests: the events and commands of that protocol as types", nil},
	{"github.com/compose-spec/compose-go/v2", "tests: reads docker-compose.yml as docker compose does, and checks it", nil},
	{"github.com/rogpeppe/go-internal", "tests: scripts of commands with their output", nil},
	{"github.com/twmb/franz-go", "a second Kafka client: the loop that the relay is measured against, and tests that check what the first one wrote",
		[]string{"internal/bench"}},
	{"github.com/twmb/franz-go/pkg/kfake", "tests: Kafka's faults that no real server gives on demand", nil},
	{"github.com/twmb/franz-go/pkg/kmsg", "Kafka's requests and answers as types, generated from its own definitions; sockets, versions and handlers are ours",
		[]string{"internal/broker/kafka"}},
	{"go.uber.org/goleak", "tests: every goroutine is awaited", nil},

	{"golang.org/x/perf", "tool: benchstat compares rounds of figures", nil},
	{"golang.org/x/vuln", "tool: known vulnerabilities in what we import", nil},
	{"honnef.co/go/tools", "tool: staticcheck", nil},
}

// topLevel is what may lie in the root folder, besides names that begin with a dot.
var topLevel = []string{"adapters", "cmd", "deploy", "docs", "internal", "migrations", "outbox", "relay", "CHANGELOG.md", "LICENSE", "README.md",
	"config.yaml", "docker-compose.yml", "go.mod", "go.sum"}

// bannedNames say nothing about what is in a package.
var bannedNames = []string{"base", "common", "core", "helper", "helpers", "lib", "misc", "model", "models", "pkg", "service", "services", "shared", "types",
	"util", "utils"}

// maxLines of a file that is no test. A conformance suite, a flat list of cases in a test-only package, may be longer: its file begins with suite.
const maxLines = 400
