package doctor

import (
	"fmt"
	"slices"

	"github.com/waybillmq/waybill/relay"
)

// Area is what a finding is about.
type Area string

// The areas, in the order in which they are shown.
const (
	Config      Area = "config"
	Database    Area = "database"
	Rights      Area = "rights"
	Relay       Area = "relay"
	Destination Area = "destination"
)

// Areas lists every area.
var Areas = []Area{Config, Database, Rights, Relay, Destination}

// Finding is one answer: what was looked at, what was found, what that does to messages, and what mends it.
type Finding struct {
	Area Area `json:"area"`
	relay.Finding
	Effect string `json:"effect"` // of leaving it so; empty when ok
	Docs   string `json:"docs"`
}

// docs is where the checks are explained.
const docs = "docs/operations.md#the-doctor"

// Check is one line of the list of checks. Findings of a destination's own check come under the ids of its kind and are not listed.
type Check struct {
	ID     string
	Area   Area
	Effect string // of what it finds
}

// Checks lists every check of this package.
var Checks = []Check{
	{"config.warning", Config, "something may not do what its writer meant"},
	{"config.secret", Config, "whoever needs it cannot log in"},
	{"config.route", Config, "messages go elsewhere than the example says, or nowhere"},
	{"config.certificate", Config, "from then on browsers refuse the pages, or a broker refuses the relay: messages to it wait and lose no attempt"},

	{"database.reachable", Database, "nothing is published until it answers; what is committed stays"},
	{"database.primary", Database, "no relay can work here, and nothing can be written"},
	{"database.read_only", Database, "applications can write nothing, orders and messages alike, while the relay goes on: its own sessions switch the setting off; services set it when a disk is full"},
	{"database.version", Database, "nobody has tried this version"},
	{"database.schema", Database, "the relay waits and sends nothing"},
	{"database.identity", Database, "the relay refuses to run: a copy must not publish what the original publishes"},
	{"database.fsync", Database, "a crash of the server can lose what was committed, or damage it"},
	{"database.synchronous_commit", Database, "a crash of the server can lose the newest transactions of the application, with their messages; nothing that was lost is ever published"},
	{"database.logged", Database, "a crash of the server empties an unlogged table; alive must be one, since its emptiness is what tells of a crash"},
	{"database.trigger", Database, "what is written is never sent"},
	{"database.hooks", Database, "somebody else's code changes, drops or delays messages inside the application's transaction"},
	{"database.row_security", Database, "rows that a policy hides are never sent"},
	{"database.sequence", Database, "ids are not in the order in which they were written, so the order of a key breaks"},
	{"database.id_default", Database, "an id that appears late is not waited for, and may be missed until the next scan"},
	{"database.sequence_position", Database, "the next messages get ids that exist already: writing fails, or a message is taken for one that was sent"},
	{"database.partitions_ahead", Database, "without a partition ahead new messages go to the default partition, which is emptied row by row"},
	{"database.default_partition", Database, "those rows are deleted one by one instead of dropped, and hold up new partitions"},
	{"database.transactions", Database, "vacuum cannot remove what is settled, partitions cannot be dropped, and reading gets slower; no message is held up"},
	{"database.prepared", Database, "the same as an open transaction, and a restart does not end it"},
	{"database.slots", Database, "WAL is kept until the disk is full, or vacuum is held back"},
	{"database.disk", Database, "a full disk stops the server: applications write nothing, orders and messages alike, until somebody makes room"},
	{"database.age", Database, "at 2^31 the server refuses every write until somebody has vacuumed by hand, for hours perhaps: applications stop, and nothing is published"},
	{"database.notifications", Database, "when the queue is full, a transaction that notifies fails at its COMMIT: publishing while the relay sleeps, people's acts, and whatever else the application notifies"},
	{"database.autovacuum", Database, "message_pending grows with every message sent, and reading gets slower"},
	{"database.dead_rows", Database, "reading gets slower"},
	{"database.plans", Database, "the more messages wait, the slower each of them leaves, and the more the server has to do"},
	{"database.indexes", Database, "messages whose rows an index lacks are not read: they wait, and later ones of their key overtake them"},
	{"database.pooler", Database, "LISTEN, the lease's connection and prepared statements do not work through a pooler in transaction mode"},
	{"database.tls", Database, "whoever is on the way can read messages and the password"},
	{"database.certificate", Database, "from then on the server refuses the relay: nothing is published until it is renewed"},
	{"database.clock", Database, "ages and latencies are wrong by that much; order and ownership do not depend on it"},

	{"rights.login", Rights, "the relay, or people's commands and pages, are refused by the database"},
	{"rights.superuser", Rights, "whatever gets hold of this login is held back by nothing"},
	{"rights.monitor", Rights, "long transactions of other logins cannot be seen or named"},
	{"rights.separate", Rights, "PostgreSQL does not separate producers, relay and people"},
	{"rights.producer", Rights, "an application can read or change what others have written"},
	{"rights.relay", Rights, "a relay could change what it should only send"},
	{"rights.people", Rights, "payloads can be read past the log of who looked, or tables changed past the log of who acted"},
	{"rights.public", Rights, "every login of the server has this right"},
	{"rights.search_path", Rights, "whoever can make a table or function there runs code as the owner of the outbox"},

	{"relay.owner", Relay, "nothing is published"},
	{"relay.standby", Relay, "when the owner dies, nothing is published until somebody starts a relay"},
	{"relay.lease_margin", Relay, "while the database is away, a batch that still waits for its broker is cut and ends as unknown: it is sent again"},
	{"relay.open_files", Relay, "connections are refused under load"},
	{"relay.files", Relay, "other accounts of this machine can read a password or act on messages"},
	{"relay.cache", Relay, "what comes while a broker is down waits in the table alone, or other accounts can read it; a folder that is lost loses no message, but confirmations, and those are sent again"},
	{"relay.disk", Relay, "the folder is gone with the container or the next boot, or fills the memory"},

	{"destination.state", Destination, "messages to it wait and lose no attempt"},
	{"destination.paused", Destination, "messages to it wait, keep their partitions from being dropped, and nobody may remember why"},
	{"destination.cluster", Destination, "nothing is sent there, so that no stream is split over two clusters"},
	{"destination.check", Destination, "it can lose what it confirmed, or messages cannot be sent"},
}

func checkOf(id string) (Check, bool) {
	i := slices.IndexFunc(Checks, func(c Check) bool { return c.ID == id })
	if i < 0 {
		return Check{}, false
	}
	return Checks[i], true
}

// report collects the findings of one judgement.
type report struct{ found []Finding }

// add panics for a check that is not listed: that is a mistake in this package.
func (r *report) add(id string, level relay.Level, subject, fix, format string, args ...any) {
	c, ok := checkOf(id)
	if !ok {
		panic("internal/doctor: check " + id + " is not listed")
	}
	f := Finding{Area: c.Area, Finding: relay.Finding{ID: id, Level: level, Subject: subject, Text: fmt.Sprintf(format, args...), Fix: fix}, Docs: docs}
	if level == relay.LevelFail || level == relay.LevelWarn {
		f.Effect = c.Effect
	}
	r.found = append(r.found, f)
}

func (r *report) ok(id, subject, format string, args ...any) {
	r.add(id, relay.LevelOK, subject, "", format, args...)
}

// each reports every finding of a check, or one that all is well.
func (r *report) each(id, subject, fine string, findings ...func()) {
	before := len(r.found)
	for _, f := range findings {
		f()
	}
	if len(r.found) == before {
		r.ok(id, subject, "%s", fine)
	}
}

// unseen says that a check could not look. It is never ok.
func (r *report) unseen(id, subject string, err error, fix string) {
	r.add(id, relay.LevelUnseen, subject, fix, "could not be looked at: %v", err)
}

// Worst is the gravest level among findings: fail, warn, unseen, ok.
func Worst(findings []Finding) relay.Level {
	worst := relay.LevelOK
	for _, f := range findings {
		if rank(f.Level) < rank(worst) {
			worst = f.Level
		}
	}
	return worst
}

func rank(l relay.Level) int {
	return slices.Index([]relay.Level{relay.LevelFail, relay.LevelWarn, relay.LevelUnseen, relay.LevelOK}, l)
}

// Sort puts the gravest first, and keeps the order of the areas and of the checks inside a level.
func Sort(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		if d := rank(a.Level) - rank(b.Level); d != 0 {
			return d
		}
		return slices.Index(Areas, a.Area) - slices.Index(Areas, b.Area)
	})
}
