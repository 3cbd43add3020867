package doctor

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// ids judges how ids are drawn and where they stand.
func (r *report) ids(x postgres.Examination) {
	seq := x.Schema + ".message_id_seq"
	if err := x.IDs.Err; err != nil {
		r.unseen("database.sequence", seq, err, "")
		r.unseen("database.id_default", x.Schema+".message_log", err, "")
	} else {
		f := x.IDs.V
		r.each("database.sequence", seq, "CACHE 1, one after the other", func() {
			if f.Cache != 1 || f.Increment != 1 || f.Cycles {
				r.add("database.sequence", relay.LevelFail, seq, "ALTER SEQUENCE "+seq+" CACHE 1 INCREMENT BY 1 NO CYCLE", "it has CACHE %d, INCREMENT %d, cycle %v: each session draws ids of its own block",
					f.Cache, f.Increment, f.Cycles)
			}
		})
		want := x.Schema + ".next_id()"
		if f.Default == want {
			r.ok("database.id_default", x.Schema+".message_log", "%s", want)
		} else {
			r.add("database.id_default", relay.LevelFail, x.Schema+".message_log", "ALTER TABLE "+x.Schema+".message_log ALTER COLUMN id SET DEFAULT "+want,
				"the default of id is %q, not %s: the transaction id must be drawn first", f.Default, want)
		}
	}
	r.identity(x)
	if err := x.Place.Err; err != nil {
		r.unseen("database.sequence_position", seq, err, "")
		return
	}
	if f := x.Place.V; f.Max > f.Last {
		r.add("database.sequence_position", relay.LevelFail, seq, fmt.Sprintf("SELECT setval('%s', %d)", seq, f.Max), "it stands at %d, and ids up to %d exist", f.Last, f.Max)
	} else {
		r.ok("database.sequence_position", seq, "at %d, nothing above it", f.Last)
	}
}

func (r *report) identity(x postgres.Examination) {
	const id = "database.identity"
	switch f := x.Identity.V; {
	case x.Identity.Err != nil:
		r.unseen(id, x.Schema, x.Identity.Err, "")
	case !f.SameServer:
		r.add(id, relay.LevelFail, x.Schema, "if the original is gone: waybill adopt --moved --reason R; for a copy beside it: waybill adopt --copied --pending discard --reason R",
			"it was written on another server or database: moved, restored from a dump, or copied")
	case !f.SameTimeline:
		r.ok(id, x.Schema, "this server was promoted since; the next owner begins a new generation of message ids")
	default:
		r.ok(id, x.Schema, "written on this server")
	}
}

// partitionWidth is that of the partition in a fix; the relay chooses better ones by the rate.
const partitionWidth = 1_000_000

func (r *report) places(x postgres.Examination) {
	log, f := x.Schema+".message_log", x.Place.V
	if err := x.Place.Err; err != nil {
		r.unseen("database.partitions_ahead", log, err, "")
		r.unseen("database.default_partition", log+"_rest", err, "")
		return
	}
	if f.Ahead >= wantAhead {
		r.ok("database.partitions_ahead", log, "%d whole ones lie above id %d", f.Ahead, f.Last)
	} else {
		level := relay.LevelWarn
		if f.Ahead < 1 {
			level = relay.LevelFail
		}
		from := max(f.Top, f.Last+1, f.RestHi+1)
		r.add("database.partitions_ahead", level, log, fmt.Sprintf("end what holds the log open, such as a dump; a running relay adds partitions every 5 minutes, or: SELECT %s.add_partition(%d, %d)",
			x.Schema, from, from+partitionWidth), "%d whole partitions lie above id %d; %d should", f.Ahead, f.Last, wantAhead)
	}
	if f.RestHi == 0 {
		r.ok("database.default_partition", log+"_rest", "it is empty")
	} else {
		r.add("database.default_partition", relay.LevelWarn, log+"_rest", fmt.Sprintf("retention empties it; at once for what is older than a day and settled: SELECT %s.purge_rest('1 day')", x.Schema),
			"it has messages between ids %d and %d: partitions were missing when they were written", f.RestLo, f.RestHi)
	}
}

// holders judges what holds back vacuum.
func (r *report) holders(x postgres.Examination) {
	const monitor = "GRANT pg_monitor TO "
	switch {
	case x.Transactions.Err != nil:
		r.unseen("database.transactions", "server", x.Transactions.Err, "")
	default:
		for _, h := range x.Transactions.V {
			r.add("database.transactions", relay.LevelWarn, fmt.Sprintf("pid %d", h.PID), fmt.Sprintf("end it in the application, or: SELECT pg_terminate_backend(%d)", h.PID), "open transaction: %s", h)
		}
		switch {
		case x.Login.Err == nil && !x.Login.V.SeesOthers:
			r.unseen("database.transactions", "server", errors.New("this login may not see the transactions of others"), monitor+ident(x.Login.V.Name))
		case len(x.Transactions.V) == 0:
			r.ok("database.transactions", "server", "none is older than %s", postgres.OldTransaction)
		}
	}
	if x.Prepared.Err != nil {
		r.unseen("database.prepared", "server", x.Prepared.Err, "")
	} else {
		r.each("database.prepared", "server", "none is older than "+postgres.OldTransaction.String(), func() {
			for _, h := range x.Prepared.V {
				gid := literal(h.GID)
				r.add("database.prepared", relay.LevelWarn, gid, fmt.Sprintf("in database %s, as its coordinator decides: COMMIT PREPARED %s or ROLLBACK PREPARED %s", h.Database, gid, gid), "%s", h)
			}
		})
	}
	if x.Slots.Err != nil {
		r.unseen("database.slots", "server", x.Slots.Err, "")
		return
	}
	r.each("database.slots", "server", "none holds anything back", func() {
		for _, s := range x.Slots.V {
			r.slot(s)
		}
	})
}

func (r *report) slot(s postgres.Slot) {
	var what []string
	if !s.Active {
		what = append(what, "nobody reads from it")
	}
	if s.Retained > slotBytes {
		what = append(what, fmt.Sprintf("%.1f GiB of WAL are kept for it", float64(s.Retained)/(1<<30)))
	}
	if s.XminAge > slotAge {
		what = append(what, fmt.Sprintf("it protects rows from vacuum for %d transactions", s.XminAge))
	}
	if s.Status == "lost" || s.Status == "unreserved" {
		what = append(what, "what it needs is "+s.Status)
	}
	if len(what) == 0 {
		return
	}
	r.add("database.slots", relay.LevelWarn, s.Name, "start its reader again, or, when it is gone for good: SELECT pg_drop_replication_slot("+literal(s.Name)+")", "replication slot: %s", strings.Join(what, "; "))
}

// vacuumed are the tables whose dead rows cost every read.
var vacuumed = []string{"message_pending", "message_held"}

func (r *report) vacuum(x postgres.Examination) {
	if x.Tables.Err != nil {
		r.unseen("database.autovacuum", x.Schema, x.Tables.Err, "")
		r.unseen("database.dead_rows", x.Schema, x.Tables.Err, "")
		return
	}
	r.each("database.autovacuum", x.Schema, "on, with the settings of the outbox", func() {
		for _, name := range []string{"autovacuum", "track_counts"} {
			if x.Server.Settings[name] == "off" {
				r.add("database.autovacuum", relay.LevelFail, name, "ALTER SYSTEM SET "+name+" = on; SELECT pg_reload_conf();", "%s is off", name)
			}
		}
		for _, t := range x.Tables.V {
			r.options(x.Schema, t)
		}
	})
	r.each("database.dead_rows", x.Schema, "vacuum keeps up", func() {
		for _, t := range x.Tables.V {
			if name := x.Schema + "." + t.Name; slices.Contains(vacuumed, t.Name) && t.Dead > 2*t.Live+deadRows {
				r.add("database.dead_rows", relay.LevelWarn, name, "end old transactions first, then: VACUUM "+name, "about %d dead rows beside %d living ones", t.Dead, t.Live)
			}
		}
	})
}

// scaleFactor is the option without which a large outbox would wait for a fifth of its rows to die.
const scaleFactor = "autovacuum_vacuum_scale_factor"

func (r *report) options(schema string, t postgres.TableFacts) {
	name := schema + "." + t.Name
	if slices.Contains(t.Options, "autovacuum_enabled=false") || slices.Contains(t.Options, "autovacuum_enabled=off") {
		r.add("database.autovacuum", relay.LevelFail, name, "ALTER TABLE "+name+" RESET (autovacuum_enabled)", "it is off for this table")
	}
	if t.Name == "message_pending" && !slices.Contains(t.Options, scaleFactor+"=0") {
		r.add("database.autovacuum", relay.LevelWarn, name, "ALTER TABLE "+name+" SET ("+scaleFactor+" = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0)",
			"the settings that the migration gave it are gone")
	}
}

// indexes judges what amcheck found; without the extension there is nothing to say.
func (r *report) indexes(x postgres.Examination) {
	const id = "database.indexes"
	f := x.Indexes.V
	switch {
	case x.Indexes.Err != nil:
		r.unseen(id, x.Schema, x.Indexes.Err, "")
		return
	case !f.Extension:
		return
	case !f.Usable || !f.Allowed:
		login := ident(x.Login.V.Name)
		r.unseen(id, x.Schema, errors.New("this login may not call amcheck"),
			fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT EXECUTE ON FUNCTION %[1]s.bt_index_check(regclass, boolean) TO %[2]s", f.Schema, login))
		return
	}
	if f.Compared+len(f.Damaged) == 0 {
		r.add(id, relay.LevelUnseen, x.Schema, "when their tables are small or free: waybill doctor; at any time, by a login that may: pg_amcheck --heapallindexed --schema="+x.Schema,
			"not known: none was compared, for each table was too large or locked: %s", strings.Join(f.Left, ", "))
		return
	}
	fine := fmt.Sprintf("%d know every row of their tables", f.Compared)
	if len(f.Left) > 0 {
		fine += "; not compared, too large or locked: " + strings.Join(f.Left, ", ")
	}
	r.each(id, x.Schema, fine, func() {
		for _, i := range f.Damaged {
			name := x.Schema + "." + ident(i.Index)
			r.add(id, relay.LevelFail, name, "REINDEX INDEX "+name, "%s", i.Text)
		}
	})
}

var plainIdent = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// ident writes a name for a statement that a person pastes.
func ident(name string) string {
	if plainIdent.MatchString(name) {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// short writes a duration of a configuration.
func short(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// long writes a time that is days away.
func long(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	case d > time.Minute:
		return fmt.Sprintf("%d minutes", d/time.Minute)
	}
	return short(d)
}
