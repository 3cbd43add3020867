package doctor

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

func TestMain(m *testing.M) { testservices.Main(m) }

// ward is an outbox on a real server, examined as an ordinary login that has what a relay needs.
type ward struct {
	t     *testing.T
	admin *pgx.Conn
	url   string // of the login
	login string
}

func newWard(t *testing.T, major int) *ward {
	pg := testservices.Postgres(t, major)
	if _, err := migrations.Up(t.Context(), pg.URL, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	w := &ward{t: t, login: "doctor_" + pg.Name}
	var err error
	if w.admin, err = pgx.Connect(t.Context(), pg.URL); err != nil {
		t.Fatal(err)
	}
	w.exec("SELECT outbox.add_partition(2000000, 3000000)") // as a relay does when it starts
	w.exec(fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'pw' IN ROLE outbox_relay, outbox_operator, pg_monitor", w.login))
	t.Cleanup(func() {
		ctx := context.Background()
		if _, err := w.admin.Exec(ctx, "DROP OWNED BY "+w.login+"; DROP ROLE "+w.login); err != nil {
			t.Error(err)
		}
		if err := w.admin.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(pg.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(w.login, "pw")
	w.url = u.String()
	return w
}

func (w *ward) exec(sql string) {
	w.t.Helper()
	if _, err := w.admin.Exec(w.t.Context(), sql); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// examine returns the findings of everything that a database shows, by id.
func (w *ward) examine() map[string][]Finding {
	w.t.Helper()
	x, err := postgres.Examine(w.t.Context(), postgres.Config{URL: w.url})
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string][]Finding{}
	for _, f := range append(JudgeDatabase(x, migrations.Version), JudgeRights(x)...) {
		found[f.ID] = append(found[f.ID], f)
	}
	return found
}

// worst is the gravest finding of a check, and whether it is about what the test did: the server is shared, so slots and transactions of others may be there.
func worst(found []Finding, about string) (f Finding) {
	f.Level = relay.LevelOK
	for _, g := range found {
		if rank(g.Level) < rank(f.Level) && strings.Contains(g.Subject+" "+g.Text, about) {
			f = g
		}
	}
	return f
}

// unmaintained writes messages that an index never hears of, F18: as after a file of it was put back from another time, it is well and lacks rows.
func unmaintained(index string, after int) string {
	ready := func(is string) string {
		return "UPDATE pg_index SET indisready = " + is + " WHERE indexrelid = 'outbox." + index + "'::regclass"
	}
	return ready("false") + fmt.Sprintf("; SELECT setval('outbox.message_id_seq', %d); INSERT INTO outbox.message_log (topic) VALUES ('t'); ", after) + ready("true")
}

// breakages are the ways in which an outbox stops keeping its promises. SQL of the fix is carried out and must mend it.
var breakages = []struct {
	id, about, harm string
	level           relay.Level
	repair          string // when the fix is not one statement, or belongs to another place
}{
	{id: "database.schema", harm: "ALTER FUNCTION outbox.version() RENAME TO version_gone", level: relay.LevelFail, repair: "ALTER FUNCTION outbox.version_gone() RENAME TO version"},
	{id: "database.synchronous_commit", about: "LOGIN", harm: "ALTER ROLE LOGIN SET synchronous_commit = off", level: relay.LevelWarn},
	{id: "database.synchronous_commit", about: "every login", harm: "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$", level: relay.LevelWarn},
	{id: "database.read_only", harm: "ALTER ROLE LOGIN SET default_transaction_read_only = on", level: relay.LevelFail},
	{id: "database.read_only", harm: "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$", level: relay.LevelFail},
	{id: "database.logged", about: "message_held", harm: "ALTER TABLE outbox.message_held SET UNLOGGED", level: relay.LevelFail},
	{id: "database.logged", about: "alive", harm: "ALTER TABLE outbox.alive SET LOGGED", level: relay.LevelFail},
	{id: "database.trigger", harm: "ALTER TABLE outbox.message_log DISABLE TRIGGER enqueue", level: relay.LevelFail},
	{id: "database.trigger", harm: "ALTER TABLE outbox.message_log ENABLE REPLICA TRIGGER enqueue", level: relay.LevelFail},
	{id: "database.trigger", harm: "DROP TRIGGER enqueue ON outbox.message_log", level: relay.LevelFail},
	{id: "database.hooks", about: "theirs", harm: "CREATE TRIGGER theirs AFTER INSERT ON outbox.message_log FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", level: relay.LevelWarn},
	{id: "database.hooks", about: "early", harm: "CREATE TRIGGER early BEFORE DELETE ON outbox.message_pending FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()", level: relay.LevelFail},
	{id: "database.hooks", about: `Drop it`, harm: `CREATE RULE "Drop it" AS ON INSERT TO outbox.message_held DO INSTEAD NOTHING`, level: relay.LevelFail},
	{id: "database.row_security", about: "message_pending", harm: "ALTER TABLE outbox.message_pending ENABLE ROW LEVEL SECURITY", level: relay.LevelFail},
	{id: "database.sequence", harm: "ALTER SEQUENCE outbox.message_id_seq CACHE 20", level: relay.LevelFail},
	{id: "database.sequence", harm: "ALTER SEQUENCE outbox.message_id_seq INCREMENT BY 2", level: relay.LevelFail},
	{id: "database.id_default", harm: "ALTER TABLE outbox.message_log ALTER COLUMN id SET DEFAULT nextval('outbox.message_id_seq')", level: relay.LevelFail},
	{id: "database.sequence_position", harm: "INSERT INTO outbox.message_log (topic) VALUES ('t'), ('t'); DELETE FROM outbox.message_pending; SELECT setval('outbox.message_id_seq', 1)", level: relay.LevelFail},
	{id: "database.identity", harm: "UPDATE outbox.generations SET system_identifier = system_identifier + 1", level: relay.LevelFail,
		repair: "UPDATE outbox.generations SET system_identifier = system_identifier - 1"},
	{id: "database.partitions_ahead", harm: "SELECT setval('outbox.message_id_seq', 1999999)", level: relay.LevelWarn, repair: "SELECT outbox.add_partition(3000000, 4000000)"},
	{id: "database.partitions_ahead", harm: "SELECT setval('outbox.message_id_seq', 3500000)", level: relay.LevelFail,
		repair: "SELECT outbox.add_partition(4000000, 5000000), outbox.add_partition(5000000, 6000000)"},
	{id: "database.default_partition", harm: "SELECT setval('outbox.message_id_seq', 9000000); INSERT INTO outbox.message_log (topic) VALUES ('t'); DELETE FROM outbox.message_pending", level: relay.LevelWarn,
		repair: "DELETE FROM outbox.message_log_rest; SELECT setval('outbox.message_id_seq', 3500000)"},
	{id: "database.indexes", about: "may not call", harm: "CREATE EXTENSION amcheck", level: relay.LevelUnseen},
	{id: "database.indexes", about: "message_pending_pkey", harm: unmaintained("message_pending_pkey", 100), level: relay.LevelFail},
	{id: "database.indexes", about: "message_log_0_pkey", harm: unmaintained("message_log_0_pkey", 200), level: relay.LevelFail},
	{id: "database.autovacuum", about: "message_held", harm: "ALTER TABLE outbox.message_held SET (autovacuum_enabled = false)", level: relay.LevelFail},
	{id: "database.autovacuum", about: "message_pending", harm: "ALTER TABLE outbox.message_pending RESET (autovacuum_vacuum_scale_factor)", level: relay.LevelWarn},
	{id: "database.plans", about: "message_pending_pkey", harm: "ALTER TABLE outbox.message_pending DROP CONSTRAINT message_pending_pkey", level: relay.LevelFail},
	{id: "database.plans", about: "message_held_pkey", harm: "ALTER TABLE outbox.message_held DROP CONSTRAINT message_held_pkey", level: relay.LevelFail},
	{id: "database.plans", about: "message_held_due", harm: "DROP INDEX outbox.message_held_due", level: relay.LevelFail},
	{id: "database.plans", about: "message_held_head", harm: "DROP INDEX outbox.message_held_head", level: relay.LevelFail},
	{id: "database.plans", about: "message_held_aside", harm: "DROP INDEX outbox.message_held_aside", level: relay.LevelFail},
	{id: "database.plans", about: "message_held_key", harm: "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'outbox.message_held_key'::regclass", level: relay.LevelFail},
	{id: "database.plans", about: "enable_indexscan", harm: "ALTER ROLE LOGIN SET enable_indexscan = off", level: relay.LevelFail},
	{id: "database.plans", about: "enable_indexonlyscan", harm: "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET enable_indexonlyscan = off', current_database()); END $$", level: relay.LevelFail},

	{id: "rights.login", about: "outbox_relay", harm: "REVOKE outbox_relay FROM LOGIN", level: relay.LevelFail},
	{id: "rights.login", about: "outbox_operator", harm: "REVOKE outbox_operator FROM LOGIN", level: relay.LevelWarn},
	{id: "rights.superuser", harm: "ALTER ROLE LOGIN SUPERUSER", level: relay.LevelWarn, repair: "ALTER ROLE LOGIN NOSUPERUSER"},
	{id: "rights.monitor", harm: "REVOKE pg_monitor FROM LOGIN", level: relay.LevelWarn},
	{id: "database.transactions", about: "may not see", harm: "REVOKE pg_monitor FROM LOGIN", level: relay.LevelUnseen},
	{id: "rights.producer", about: "SELECT on outbox.message_log", harm: "GRANT SELECT ON outbox.message_log TO outbox_producer", level: relay.LevelFail},
	{id: "rights.producer", about: "INSERT on outbox.message_log_0", harm: "GRANT INSERT ON outbox.message_log_0 TO outbox_producer", level: relay.LevelFail},
	{id: "rights.relay", about: "UPDATE on outbox.message_log", harm: "GRANT UPDATE ON outbox.message_log TO outbox_relay", level: relay.LevelFail},
	{id: "rights.relay", about: "INSERT on outbox.message_pending", harm: "GRANT INSERT ON outbox.message_pending TO outbox_relay", level: relay.LevelFail},
	{id: "rights.people", about: "outbox_viewer", harm: "GRANT SELECT (payload) ON outbox.message_log TO outbox_viewer", level: relay.LevelFail,
		repair: "REVOKE SELECT (payload) ON outbox.message_log FROM outbox_viewer"},
	{id: "rights.people", about: "DELETE on outbox.message_held", harm: "GRANT DELETE ON outbox.message_held TO outbox_operator", level: relay.LevelFail},
	{id: "rights.public", about: "outbox.attempt", harm: "GRANT SELECT ON outbox.attempt TO PUBLIC", level: relay.LevelFail},
	{id: "rights.public", about: "publish_tombstone", harm: "GRANT EXECUTE ON FUNCTION outbox.publish_tombstone(text, text, jsonb, text) TO PUBLIC", level: relay.LevelFail},
	{id: "rights.public", about: "schema outbox", harm: "GRANT USAGE ON SCHEMA outbox TO PUBLIC", level: relay.LevelFail},
	{id: "rights.search_path", about: "receipts_of", harm: "ALTER FUNCTION outbox.receipts_of(bigint) RESET search_path", level: relay.LevelFail},
}

// Indexes that nobody compared are not well, they are not known.
func TestIndexesNotCompared(t *testing.T) {
	left := []string{"message_log_0_pkey", "message_held_pkey"}
	for _, c := range []struct {
		facts postgres.IndexFacts
		level relay.Level
		text  string
	}{
		{postgres.IndexFacts{Left: left}, relay.LevelUnseen, "not known: none was compared, for each table was too large or locked: message_log_0_pkey, message_held_pkey"},
		{postgres.IndexFacts{Left: left, Compared: 1}, relay.LevelOK, "1 know every row of their tables; not compared, too large or locked: message_log_0_pkey, message_held_pkey"},
		{postgres.IndexFacts{Left: left, Damaged: []postgres.IndexFault{{Index: "message_ids_id", Text: "lacks a row"}}}, relay.LevelFail, "lacks a row"},
	} {
		c.facts.Extension, c.facts.Usable, c.facts.Allowed = true, true, true
		r := report{}
		r.indexes(postgres.Examination{Schema: "outbox", Indexes: postgres.Seen[postgres.IndexFacts]{V: c.facts}})
		if len(r.found) != 1 || r.found[0].Level != c.level || r.found[0].Text != c.text {
			t.Errorf("%+v: %+v", c.facts, r.found)
		}
	}
}

// Every check fires on the harm that it is for, with a statement that mends it, and is silent before and after.
func TestBreakages(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			w := newWard(t, major)
			well := w.examine()
			if f := worst(well["database.fsync"], ""); f.Level != relay.LevelFail { // the servers of these tests run without it
				t.Errorf("fsync: %+v", f)
			}
			for id, found := range well {
				shared := slices.Contains([]string{"database.fsync", "database.slots", "database.transactions", "database.prepared"}, id) // with the other tests
				if f := worst(found, ""); f.Level != relay.LevelOK && !shared {
					t.Errorf("an outbox that is well: %s %s: %s %s", f.Level, id, f.Subject, f.Text)
				}
			}
			for _, b := range breakages {
				named := strings.NewReplacer("LOGIN", w.login)
				about, repair := named.Replace(b.about), named.Replace(b.repair)
				w.exec(named.Replace(b.harm))
				f := worst(w.examine()[b.id], about)
				if f.Level != b.level || f.Fix == "" || f.Area == "" || f.Docs == "" || (b.level != relay.LevelUnseen) != (f.Effect != "") {
					t.Errorf("%s: %+v, want %s", b.harm, f, b.level)
				}
				if repair == "" {
					repair = f.Fix
				}
				w.exec(repair)
				if f := worst(w.examine()[b.id], about); f.Level != relay.LevelOK {
					t.Errorf("%s is not mended by %s: %+v", b.harm, repair, f)
				}
			}
		})
	}
}

// What holds back vacuum is named with what ends it.
func TestHolders(t *testing.T) {
	w := newWard(t, 18)
	w.exec("SELECT pg_create_physical_replication_slot('doctor_slot', true)")
	if f := worst(w.examine()["database.slots"], "doctor_slot"); f.Level != relay.LevelWarn || !strings.Contains(f.Fix, "pg_drop_replication_slot('doctor_slot')") {
		t.Errorf("an unused slot: %+v", f)
	}
	w.exec("SELECT pg_drop_replication_slot('doctor_slot')")
	if f := worst(w.examine()["database.slots"], "doctor_slot"); f.Level != relay.LevelOK {
		t.Errorf("no slot: %+v", f)
	}
	x, err := postgres.Examine(t.Context(), postgres.Config{URL: w.url})
	if err != nil {
		t.Fatal(err)
	}
	x.Transactions.V = []postgres.Holder{{PID: 77, Database: "shop", User: "app", State: "idle in transaction", Age: 3 * 60 * 1e9}}
	x.Prepared.V = []postgres.Holder{{GID: "it's", Database: "shop", User: "app", State: "prepared", Age: 3 * 60 * 1e9}}
	found := JudgeDatabase(x, migrations.Version)
	for id, fix := range map[string]string{"database.transactions": "SELECT pg_terminate_backend(77)", "database.prepared": "ROLLBACK PREPARED 'it''s'"} {
		if i := slices.IndexFunc(found, func(f Finding) bool { return f.ID == id && f.Level == relay.LevelWarn }); i < 0 || !strings.Contains(found[i].Fix, fix) || !strings.Contains(found[i].Text, "3m0s old") {
			t.Errorf("%s is not found: %+v", id, found)
		}
	}
}

// A login that may not even see the schema is told so, and nothing is called good that was not seen.
func TestStrangerSeesNothing(t *testing.T) {
	w := newWard(t, 18)
	w.exec("REVOKE outbox_relay, outbox_operator FROM " + w.login)
	found := w.examine()
	if f := worst(found["database.schema"], ""); f.Level != relay.LevelUnseen {
		t.Errorf("%+v", found["database.schema"])
	}
	if f := worst(found["rights.login"], ""); f.Level != relay.LevelFail || f.Fix != "GRANT outbox_relay TO "+w.login {
		t.Errorf("%+v", found["rights.login"])
	}
	for _, id := range []string{"database.trigger", "rights.public"} {
		if len(found[id]) > 0 {
			t.Errorf("%s was judged: %+v", id, found[id])
		}
	}
	_, err := postgres.Examine(t.Context(), postgres.Config{URL: strings.Replace(w.url, ":pw@", ":wrong-canary@", 1)})
	unreachable := JudgeUnreachable(err)
	if err == nil || unreachable[0].Level != relay.LevelFail || strings.Contains(unreachable[0].Text+unreachable[0].Fix, "canary") {
		t.Errorf("%v, %+v", err, unreachable)
	}
}
