package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// index is one that the migrations make, with what makes it again. outbox. stands for the schema.
type index struct{ name, table, make string }

const heldIndex = "CREATE INDEX CONCURRENTLY %s ON outbox.message_held "

// indexes are all of the tables that the relay reads while it sends, and those that people's pages read along.
var indexes = []index{
	primary("message_log", "id"), primary("message_pending", "id"), primary("message_held", "id"), primary("message_discarded", "id"), primary("message_ids", "message_id"),
	primary("attempt", "id, n"), primary("receipts", "hi, epoch, seq"), primary("activity", "id"),
	held("message_held_due", "(destination, due_at, id) WHERE due_at IS NOT NULL AND NOT sending"),
	held("message_held_sending", "(id) WHERE sending"),
	{"message_held_head", "message_held", "CREATE UNIQUE INDEX CONCURRENTLY message_held_head ON outbox.message_held (topic, key) WHERE key IS NOT NULL AND state = 'retrying' AND NOT passed"},
	held("message_held_key", "(topic, key, id) WHERE key IS NOT NULL AND state <> 'scheduled' AND NOT passed"),
	held("message_held_aside", "(topic, key, id) WHERE key IS NOT NULL AND (state = 'scheduled' OR passed)"),
	held("message_held_group", "(fingerprint, id) WHERE fingerprint IS NOT NULL"),
	held("message_held_state", "(state, id)"),
	{"message_ids_id", "message_ids", "CREATE INDEX CONCURRENTLY message_ids_id ON outbox.message_ids (id)"},
}

func primary(table, columns string) index {
	return index{table + "_pkey", table, "ALTER TABLE outbox." + table + " ADD CONSTRAINT " + table + "_pkey PRIMARY KEY (" + columns + ")"}
}

func held(name, what string) index {
	return index{name, "message_held", fmt.Sprintf(heldIndex, name) + what}
}

// plans judges whether the relay finds rows by their indexes. A table whose index is missing is not named a second time for being read whole.
func (r *report) plans(x postgres.Examination) {
	const id = "database.plans"
	if x.Plans.Err != nil {
		r.unseen(id, x.Schema, x.Plans.Err, "")
		return
	}
	f := x.Plans.V
	lacking := map[string]bool{}
	r.each(id, x.Schema, "every index is there, and the relay's statements would use them", func() {
		for _, want := range indexes {
			name, table := x.Schema+"."+want.name, x.Schema+"."+want.table
			i := slices.IndexFunc(f.Indexes, func(have postgres.Index) bool { return have.Name == want.name && have.Table == want.table })
			switch {
			case i < 0:
				lacking[want.table] = true
				r.add(id, relay.LevelFail, table, strings.ReplaceAll(want.make, "outbox.", x.Schema+"."), "index %s is missing", want.name)
			case !f.Indexes[i].Valid:
				lacking[want.table] = true
				r.add(id, relay.LevelFail, table, "REINDEX INDEX CONCURRENTLY "+name, "index %s is not valid: making it was broken off", want.name)
			}
		}
		r.unused(id, x, lacking)
	})
}

// unused names what is read whole although its indexes are there, by table, and what keeps the planner from them.
func (r *report) unused(id string, x postgres.Examination, lacking map[string]bool) {
	for _, text := range x.Plans.V.Refused {
		if len(lacking) == 0 {
			r.add(id, relay.LevelFail, x.Schema, "compare the outbox with what the migrations make: waybill migrate print", "the server does not take a statement of the relay: %s", text)
		}
	}
	for _, s := range x.Plans.V.Off {
		r.add(id, relay.LevelFail, s.Name, resetOf(s.Name, s.Source, x.Login.V.Name, x.Server.Database), "%s is off for the relay's sessions, so its statements may read whole tables", s.Name)
	}
	if len(x.Plans.V.Off) > 0 {
		return
	}
	var tables []string
	statements := map[string][]string{}
	for _, w := range x.Plans.V.Whole {
		if !lacking[w.Table] {
			tables = append(tables, w.Table)
			statements[w.Table] = append(statements[w.Table], w.Statement)
		}
	}
	slices.Sort(tables)
	for _, table := range slices.Compact(tables) {
		name := x.Schema + "." + table
		r.add(id, relay.LevelWarn, name, "ANALYZE "+name+", then start the relay anew: it plans once", "the relay's statements %s would read it whole", strings.Join(statements[table], ", "))
	}
}
