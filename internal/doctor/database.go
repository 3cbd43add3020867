package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// Limits from which something is worth a word.
const (
	oldestVersion = 15
	newestVersion = 18
	clockOff      = time.Second
	slotBytes     = 1 << 30
	slotAge       = 10_000_000 // transactions
	wantAhead     = 2          // partitions, as the relay makes them
	deadRows      = 100_000    // besides twice the living ones
)

// JudgeUnreachable is the finding that the database cannot be asked.
func JudgeUnreachable(err error) []Finding {
	r := report{}
	fix := "start the server, or correct database.url; then: waybill doctor --only database"
	var wrong *relay.ConfigError
	if errors.As(err, &wrong) {
		fix = "correct database.url: waybill config explain database.url"
	}
	r.add("database.reachable", relay.LevelFail, "database.url", fix, "%v", err)
	return r.found
}

// JudgeDatabase judges the server, the tables of the outbox and who holds them up. needs is the version of the schema that this program works with.
func JudgeDatabase(x postgres.Examination, needs int) []Finding {
	r := report{}
	r.ok("database.reachable", "database.url", "it answers")
	r.server(x)
	r.way(x.Server)
	r.holders(x)
	r.limits(x)
	if !r.schema(x, needs) {
		return r.found
	}
	r.tables(x)
	r.hooks(x)
	r.ids(x)
	r.places(x)
	r.vacuum(x)
	if x.Version.V >= needs { // statements for tables that are not there yet say nothing
		r.plans(x)
	}
	r.indexes(x)
	return r.found
}

// resetOf is the command that ends a setting where it was made.
func resetOf(name, by, login, database string) string {
	reset := " RESET " + name
	switch by {
	case "user":
		return "ALTER ROLE " + ident(login) + reset
	case "database":
		return "ALTER DATABASE " + ident(database) + reset
	case "database user":
		return "ALTER ROLE " + ident(login) + " IN DATABASE " + ident(database) + reset
	default:
		return "ALTER SYSTEM" + reset + "; SELECT pg_reload_conf()"
	}
}

func (r *report) server(x postgres.Examination) {
	s := x.Server
	r.each("database.primary", "database.url", "it is the primary", func() {
		if s.Recovery {
			r.add("database.primary", relay.LevelFail, "database.url", "set database.url to the primary, or name all hosts: postgres://…@a,b/db?target_session_attrs=read-write",
				"it leads to a standby")
		}
	})
	r.each("database.read_only", "PostgreSQL", "it takes writes", func() {
		if s.ReadOnly && !s.Recovery {
			r.add("database.read_only", relay.LevelFail, "default_transaction_read_only", resetOf("default_transaction_read_only", s.ReadOnlyBy, x.Login.V.Name, s.Database),
				"new transactions of %s are read only by default", ident(x.Login.V.Name))
		}
	})
	switch major := s.Version / 10000; {
	case major < oldestVersion:
		r.add("database.version", relay.LevelFail, "PostgreSQL", fmt.Sprintf("upgrade the server to %d or later", oldestVersion), "version %d; %d to %d are supported", major, oldestVersion, newestVersion)
	case major > newestVersion:
		r.add("database.version", relay.LevelWarn, "PostgreSQL", "take a newer waybill, or go on and watch", "version %d; this program is tested with %d to %d", major, oldestVersion, newestVersion)
	default:
		r.ok("database.version", "PostgreSQL", "version %d", major)
	}
	r.each("database.fsync", "PostgreSQL", "commits and pages are safe on disk", func() {
		for _, name := range []string{"fsync", "full_page_writes"} {
			if s.Settings[name] == "off" {
				r.add("database.fsync", relay.LevelFail, name, "ALTER SYSTEM SET "+name+" = on; SELECT pg_reload_conf();", "%s is off", name)
			}
		}
	})
	r.commit(x)
}

// commit judges what transactions of the application get; the relay sets its own.
func (r *report) commit(x postgres.Examination) {
	const id = "database.synchronous_commit"
	r.each(id, "PostgreSQL", "a commit waits for the disk", func() {
		if x.Server.Settings["synchronous_commit"] == "off" {
			r.add(id, relay.LevelWarn, "synchronous_commit", "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();", "it is off for this login")
		}
		if x.Commit.Err != nil {
			r.unseen(id, "roles", x.Commit.Err, "")
		}
		for _, c := range x.Commit.V {
			if c.Value != "off" {
				continue
			}
			fix := "RESET synchronous_commit"
			subject := "every login"
			switch {
			case c.Role != "" && c.Database != "":
				fix, subject = fmt.Sprintf("ALTER ROLE %s IN DATABASE %s %s", ident(c.Role), ident(c.Database), fix), "login "+c.Role
			case c.Role != "":
				fix, subject = fmt.Sprintf("ALTER ROLE %s %s", ident(c.Role), fix), "login "+c.Role
			case c.Database != "":
				fix = fmt.Sprintf("ALTER DATABASE %s %s", ident(c.Database), fix)
			default:
				fix = "ALTER ROLE ALL " + fix
			}
			r.add(id, relay.LevelWarn, subject, fix, "synchronous_commit is off for %s", subject)
		}
	})
}

// way judges how the server is reached.
func (r *report) way(s postgres.ServerFacts) {
	const pooler = "database.pooler"
	switch {
	case s.HasDirect && s.Direct.Err != nil:
		r.add(pooler, relay.LevelFail, "database.direct_url", "correct database.direct_url: waybill config explain database.direct_url", "%v", s.Direct.Err)
	case s.Shared:
		r.add(pooler, relay.LevelFail, "database.url", "let the pooler keep sessions for the relay's login (PgBouncer: pool_mode = session), or point database.url at the server itself",
			"a pooler stands in front of the server and gives a session to others between two transactions")
	case s.HasDirect && s.Direct.V:
		r.add(pooler, relay.LevelWarn, "database.direct_url", "set database.direct_url to the server itself", "a pooler stands in front of the direct address too")
	case s.Pooled && !s.HasDirect:
		r.add(pooler, relay.LevelWarn, "database.url", "set database.direct_url to the server itself; with PgBouncer also max_prepared_statements = 200 (1.21 or later)",
			"a pooler stands in front of the server, and there is no direct address")
	case s.Pooled:
		r.ok(pooler, "database.url", "a pooler stands in front of the server; LISTEN and the lease go past it")
	default:
		r.ok(pooler, "database.url", "the server is reached directly")
	}
	switch {
	case s.Local:
		r.ok("database.tls", "database.url", "the server is on this machine")
	case !s.Encrypted:
		r.add("database.tls", relay.LevelWarn, "database.url", "add sslmode=verify-full&sslrootcert=FILE to database.url", "the connection is not encrypted")
	case !s.Verified:
		r.add("database.tls", relay.LevelWarn, "database.url", "add sslmode=verify-full&sslrootcert=FILE to database.url", "the connection is encrypted, but the server's certificate is not checked")
	default:
		r.ok("database.tls", "database.url", "encrypted, with the server's certificate checked")
	}
	r.shown(s.CertificateEnds, s.CertificateLeft)
	if s.Ahead.Abs() > clockOff {
		r.add("database.clock", relay.LevelWarn, "clock", "let both machines follow the same time: timedatectl set-ntp true", "the server's clock is %s %s ours", s.Ahead.Abs().Round(10*time.Millisecond),
			map[bool]string{true: "ahead of", false: "behind"}[s.Ahead > 0])
	} else {
		r.ok("database.clock", "clock", "within %s of the server's", clockOff)
	}
}

// schema says whether there is an outbox to look at.
func (r *report) schema(x postgres.Examination, needs int) bool {
	const id = "database.schema"
	v := x.Version.V
	switch {
	case x.Version.Err != nil:
		r.unseen(id, x.Schema, x.Version.Err, "")
	case v == 0:
		r.add(id, relay.LevelFail, x.Schema, "waybill migrate up", "schema %q has no outbox", x.Schema)
	case v < needs:
		r.add(id, relay.LevelFail, x.Schema, "waybill migrate up", "it is version %d, this program needs %d", v, needs)
	case v > needs+1:
		r.add(id, relay.LevelWarn, x.Schema, "take the waybill that this schema belongs to", "it is version %d, this program knows up to %d", v, needs+1)
	default:
		r.ok(id, x.Schema, "version %d", v)
	}
	return v > 0
}

func (r *report) tables(x postgres.Examination) {
	if x.Tables.Err != nil {
		for _, id := range []string{"database.logged", "database.row_security"} {
			r.unseen(id, x.Schema, x.Tables.Err, "")
		}
		return
	}
	r.each("database.logged", x.Schema, "every table but alive survives a crash", func() {
		for _, t := range x.Tables.V {
			name := x.Schema + "." + t.Name
			switch {
			case t.Name == "alive" && t.Persistence != "u":
				r.add("database.logged", relay.LevelFail, name, "ALTER TABLE "+name+" SET UNLOGGED", "it survives a crash of the server")
			case t.Name != "alive" && t.Persistence == "u":
				r.add("database.logged", relay.LevelFail, name, "ALTER TABLE "+name+" SET LOGGED", "it is unlogged")
			}
		}
	})
	r.each("database.row_security", x.Schema, "no table has it", func() {
		for _, t := range x.Tables.V {
			if name := x.Schema + "." + t.Name; t.RowSecurity {
				r.add("database.row_security", relay.LevelFail, name, "ALTER TABLE "+name+" DISABLE ROW LEVEL SECURITY", "row level security is on")
			}
		}
	})
}

// hooks judges triggers and rules: ours must fire, and others must not be there.
func (r *report) hooks(x postgres.Examination) {
	log := x.Schema + ".message_log"
	if x.Hooks.Err != nil {
		r.unseen("database.trigger", log, x.Hooks.Err, "")
		r.unseen("database.hooks", x.Schema, x.Hooks.Err, "")
		return
	}
	ours := func(h postgres.Hook) bool {
		return h.Table == "message_log" && h.Name == "enqueue" && !h.Rule && h.Function == x.Schema+".enqueue"
	}
	switch i := slices.IndexFunc(x.Hooks.V, ours); {
	case i < 0:
		r.add("database.trigger", relay.LevelFail, log, "CREATE TRIGGER enqueue AFTER INSERT ON "+log+" REFERENCING NEW TABLE AS nt FOR EACH STATEMENT EXECUTE FUNCTION "+x.Schema+".enqueue()",
			"its trigger enqueue is missing")
	case !fires(x.Hooks.V[i]):
		r.add("database.trigger", relay.LevelFail, log, "ALTER TABLE "+log+" ENABLE TRIGGER enqueue", "its trigger enqueue is disabled")
	default:
		r.ok("database.trigger", log, "enqueue fires")
	}
	r.each("database.hooks", x.Schema, "no trigger or rule of others", func() {
		for _, h := range x.Hooks.V {
			if !ours(h) {
				r.foreign(x.Schema, h)
			}
		}
	})
}

// fires says that a trigger fires for what applications write.
func fires(h postgres.Hook) bool { return h.Enabled == "O" || h.Enabled == "A" }

func (r *report) foreign(schema string, h postgres.Hook) {
	table, kind, level := schema+"."+h.Table, "trigger", relay.LevelWarn
	if h.Rule {
		kind = "rule"
	}
	if fires(h) && (h.Rule || h.Before) {
		level = relay.LevelFail
	}
	text := fmt.Sprintf("%s %s is not ours", kind, h.Name)
	if h.Function != "" {
		text += " and calls " + h.Function
	}
	if !fires(h) {
		text += "; it is disabled"
	}
	r.add("database.hooks", level, table, fmt.Sprintf("DROP %s %s ON %s", strings.ToUpper(kind), ident(h.Name), table), "%s", text)
}
