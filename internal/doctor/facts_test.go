package doctor

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// sound is a server as it should be.
func sound() postgres.Examination {
	var plans postgres.PlanFacts
	for _, i := range indexes {
		plans.Indexes = append(plans.Indexes, postgres.Index{Name: i.name, Table: i.table, Valid: true})
	}
	return postgres.Examination{Plans: postgres.Seen[postgres.PlanFacts]{V: plans}, Schema: "outbox", Version: postgres.Seen[int]{V: 7},
		Server: postgres.ServerFacts{Version: 180001, Encrypted: true, Verified: true,
			Settings: map[string]string{"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum": "on", "track_counts": "on"}},
		Login: postgres.Seen[postgres.LoginFacts]{V: postgres.LoginFacts{Name: "waybill", SeesOthers: true, Exists: map[string]bool{"relay": true}, Member: map[string]bool{"relay": true, "operator": true}}},
	}
}

// What a test cannot do to a shared server: each row changes one fact, and exactly that check must speak up.
func TestFacts(t *testing.T) {
	denied := relay.ErrDenied
	for name, c := range map[string]struct {
		change func(*postgres.Examination)
		id     string
		level  relay.Level
		fix    string
	}{
		"standby":            {func(x *postgres.Examination) { x.Server.Recovery = true }, "database.primary", relay.LevelFail, "target_session_attrs"},
		"PostgreSQL 14":      {func(x *postgres.Examination) { x.Server.Version = 140009 }, "database.version", relay.LevelFail, "15 or later"},
		"PostgreSQL 19":      {func(x *postgres.Examination) { x.Server.Version = 190000 }, "database.version", relay.LevelWarn, "newer waybill"},
		"torn pages":         {func(x *postgres.Examination) { x.Server.Settings["full_page_writes"] = "off" }, "database.fsync", relay.LevelFail, "full_page_writes = on"},
		"asynchronous":       {func(x *postgres.Examination) { x.Server.Settings["synchronous_commit"] = "off" }, "database.synchronous_commit", relay.LevelWarn, "ALTER SYSTEM"},
		"no autovacuum":      {func(x *postgres.Examination) { x.Server.Settings["autovacuum"] = "off" }, "database.autovacuum", relay.LevelFail, "autovacuum = on"},
		"pooler":             {func(x *postgres.Examination) { x.Server.Pooled = true }, "database.pooler", relay.LevelWarn, "database.direct_url"},
		"pooler that shares": {func(x *postgres.Examination) { x.Server.Pooled, x.Server.Shared = true, true }, "database.pooler", relay.LevelFail, "pool_mode = session"},
		"pooler, direct too": {func(x *postgres.Examination) { x.Server.HasDirect, x.Server.Direct.V = true, true }, "database.pooler", relay.LevelWarn, "the server itself"},
		"direct is down": {func(x *postgres.Examination) { x.Server.HasDirect, x.Server.Direct.Err = true, errors.New("refused") }, "database.pooler", relay.LevelFail,
			"config explain database.direct_url"},
		"plain text": {func(x *postgres.Examination) { x.Server.Encrypted, x.Server.Verified = false, false }, "database.tls", relay.LevelWarn, "verify-full"},
		"any server": {func(x *postgres.Examination) { x.Server.Verified = false }, "database.tls", relay.LevelWarn, "verify-full"},
		"certificate ends in a month": {func(x *postgres.Examination) {
			x.Server.CertificateEnds, x.Server.CertificateLeft = time.Unix(2e9, 0), certificateWarn-1
		}, "database.certificate", relay.LevelWarn, "sslcert"},
		"certificate ends in a week": {func(x *postgres.Examination) {
			x.Server.CertificateEnds, x.Server.CertificateLeft = time.Unix(2e9, 0), certificateFail-1
		}, "database.certificate", relay.LevelFail, "sslcert"},
		"clock ahead":    {func(x *postgres.Examination) { x.Server.Ahead = 3 * time.Second }, "database.clock", relay.LevelWarn, "timedatectl"},
		"clock behind":   {func(x *postgres.Examination) { x.Server.Ahead = -3 * time.Second }, "database.clock", relay.LevelWarn, "timedatectl"},
		"schema old":     {func(x *postgres.Examination) { x.Version.V = 6 }, "database.schema", relay.LevelFail, "waybill migrate up"},
		"schema far new": {func(x *postgres.Examination) { x.Version.V = 9 }, "database.schema", relay.LevelWarn, "belongs to"},
		"schema unseen":  {func(x *postgres.Examination) { x.Version = postgres.Seen[int]{Err: denied} }, "database.schema", relay.LevelUnseen, ""},
		"slot keeps WAL": {func(x *postgres.Examination) {
			x.Slots.V = []postgres.Slot{{Name: "s", Active: true, Retained: 5 << 30}}
		}, "database.slots", relay.LevelWarn, "pg_drop_replication_slot('s')"},
		"slot keeps rows": {func(x *postgres.Examination) {
			x.Slots.V = []postgres.Slot{{Name: "s", Active: true, XminAge: 2 * slotAge}}
		}, "database.slots", relay.LevelWarn, ""},
		"slot is lost": {func(x *postgres.Examination) {
			x.Slots.V = []postgres.Slot{{Name: "s", Active: true, Status: "lost"}}
		}, "database.slots", relay.LevelWarn, ""},
		"old": {func(x *postgres.Examination) {
			x.Ages.V = []postgres.AgeFacts{{Database: "shop", Transactions: ageWarn, Multixacts: 1}}
		}, "database.age", relay.LevelWarn, "VACUUM (FREEZE)"},
		"very old": {func(x *postgres.Examination) {
			x.Ages.V = []postgres.AgeFacts{{Database: "shop", Transactions: ageFail, Multixacts: 1}}
		}, "database.age", relay.LevelFail, "VACUUM (FREEZE)"},
		"multixacts": {func(x *postgres.Examination) {
			x.Ages.V = []postgres.AgeFacts{{Database: "shop", Transactions: 1, Multixacts: ageFail}}
		}, "database.age", relay.LevelFail, "database.prepared"},
		"queue fills":        {func(x *postgres.Examination) { x.Notify.V = 0.1 }, "database.notifications", relay.LevelWarn, "pg_stat_activity"},
		"queue is half full": {func(x *postgres.Examination) { x.Notify.V = 0.5 }, "database.notifications", relay.LevelFail, "pg_stat_activity"},
		"dead rows": {func(x *postgres.Examination) {
			x.Tables.V = []postgres.TableFacts{{Name: "message_held", Persistence: "p", Live: 10, Dead: 100_021}}
		}, "database.dead_rows", relay.LevelWarn, "VACUUM outbox.message_held"},
		"no index": {func(x *postgres.Examination) {
			x.Plans.V.Indexes, x.Plans.V.Whole = x.Plans.V.Indexes[1:], []postgres.WholeScan{{Statement: "dense", Table: "message_log"}}
		}, "database.plans", relay.LevelFail, "ALTER TABLE outbox.message_log ADD CONSTRAINT message_log_pkey PRIMARY KEY (id)"},
		"statement refused": {func(x *postgres.Examination) { x.Plans.V.Refused = []string{"take: column gone"} }, "database.plans", relay.LevelFail, "waybill migrate print"},
		"index unused": {func(x *postgres.Examination) {
			x.Plans.V.Whole = []postgres.WholeScan{{Statement: "dense", Table: "message_log"}, {Statement: "sparse", Table: "message_log"}}
		}, "database.plans", relay.LevelWarn, "ANALYZE outbox.message_log"},
		"one role": {func(x *postgres.Examination) { x.Login.V.Exists = map[string]bool{"relay": false} }, "rights.separate", relay.LevelWarn, "waybill migrate up"},
	} {
		x := sound()
		before := levels(x)
		c.change(&x)
		var changed []string
		for id, level := range levels(x) {
			if level != before[id] && before[id] != "" {
				changed = append(changed, id+" "+string(level))
			}
		}
		if want := c.id + " " + string(c.level); !slices.Equal(changed, []string{want}) {
			t.Errorf("%s: %v changed, want %s", name, changed, want)
		}
		found := append(JudgeDatabase(x, 7), JudgeRights(x)...)
		if i := slices.IndexFunc(found, func(f Finding) bool { return f.ID == c.id && f.Level == c.level }); i < 0 || !strings.Contains(found[i].Fix, c.fix) || found[i].Text == "" {
			t.Errorf("%s: %+v", name, found)
		}
	}
	// not quite enough for a word
	x := sound()
	x.Slots.V = []postgres.Slot{{Name: "s", Active: true, Retained: slotBytes, XminAge: slotAge, Status: "reserved"}}
	x.Server.Ahead, x.Version.V = clockOff, 8
	x.Server.CertificateEnds, x.Server.CertificateLeft = time.Unix(2e9, 0), certificateWarn
	x.Ages.V, x.Notify.V = []postgres.AgeFacts{{Database: "shop", Transactions: ageWarn - 1, Multixacts: ageWarn - 1}}, 0.099
	x.Tables.V = []postgres.TableFacts{{Name: "message_held", Persistence: "p", Live: 10, Dead: 100_020}, {Name: "attempt", Persistence: "p", Dead: 1e9}}
	for id, level := range levels(x) {
		if before := levels(sound())[id]; level != before {
			t.Errorf("%s became %s, was %s", id, level, before)
		}
	}
}

// levels is the worst of each check.
func levels(x postgres.Examination) map[string]relay.Level {
	all := map[string]relay.Level{}
	for _, f := range append(JudgeDatabase(x, 7), JudgeRights(x)...) {
		if was, ok := all[f.ID]; !ok || rank(f.Level) < rank(was) {
			all[f.ID] = f.Level
		}
	}
	return all
}

// Whatever a part could not be looked at for, its checks are unseen and not ok.
func TestUnseenIsNeverOK(t *testing.T) {
	no := errors.New("permission denied")
	x := sound()
	x.Login.Err, x.Tables.Err, x.Hooks.Err, x.IDs.Err, x.Place.Err, x.Identity.Err, x.Transactions.Err, x.Prepared.Err = no, no, no, no, no, no, no, no
	x.Slots.Err, x.Ages.Err, x.Notify.Err, x.Commit.Err, x.Rights.Err, x.Public.Err, x.Definers.Err, x.Plans.Err = no, no, no, no, no, no, no, no
	seen := []string{"database.reachable", "database.primary", "database.read_only", "database.version", "database.schema", "database.fsync", "database.pooler", "database.tls", "database.certificate", "database.clock"}
	for id, level := range levels(x) {
		if want := slices.Contains(seen, id); want != (level == relay.LevelOK) || !want && level != relay.LevelUnseen {
			t.Errorf("%s is %s", id, level)
		}
	}
	if len(levels(x)) < 25 {
		t.Errorf("only %d checks spoke: %v", len(levels(x)), levels(x))
	}
}

// The page explains every check, and no other.
func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n## The doctor\n")
	if !ok {
		t.Fatal("docs/operations.md has no section: The doctor")
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	for _, c := range Checks {
		if strings.Count(section, "`"+c.ID+"`") != 1 {
			t.Errorf("%s is not explained once", c.ID)
		}
	}
	for _, line := range strings.Split(section, "\n") {
		if id, _, found := strings.Cut(strings.TrimPrefix(line, "| `"), "`"); found && strings.HasPrefix(line, "| `") && !strings.HasPrefix(id, "waybill") {
			if _, known := checkOf(id); !known {
				t.Errorf("%s is explained and does not exist", id)
			}
		}
	}
}

func TestOrderAndWorst(t *testing.T) {
	r := report{}
	r.ok("relay.owner", "a", "fine")
	r.add("rights.login", relay.LevelWarn, "b", "", "hm")
	r.unseen("database.slots", "c", errors.New("no"), "")
	r.add("destination.check", relay.LevelFail, "d", "", "bad")
	r.add("database.tls", relay.LevelWarn, "e", "", "hm")
	Sort(r.found)
	var subjects string
	for _, f := range r.found {
		subjects += f.Subject
	}
	if subjects != "debca" || Worst(r.found) != relay.LevelFail || Worst(r.found[1:]) != relay.LevelWarn || Worst(nil) != relay.LevelOK || Worst(r.found[3:]) != relay.LevelUnseen {
		t.Errorf("%s, worst %s", subjects, Worst(r.found))
	}
	defer func() {
		if recover() == nil {
			t.Error("a check that is not listed was reported")
		}
	}()
	r.ok("database.nothing", "", "")
}
