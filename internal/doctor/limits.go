package doctor

import (
	"fmt"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// Limits of the whole server that stop its writers when they are reached. Vacuum leaves out all but freezing from ageFail on (vacuum_failsafe_age and
// vacuum_multixact_failsafe_age, PostgreSQL manual); well kept servers stay near 200 million (autovacuum_freeze_max_age).
const (
	ageWarn    = 1_000_000_000
	ageFail    = 1_600_000_000
	ageEnd     = 1 << 31
	notifyWarn = 0.1
	notifyFail = 0.5
)

// limits judges what runs out slowly and then stops everybody.
func (r *report) limits(x postgres.Examination) {
	const age, notifications = "database.age", "database.notifications"
	if x.Ages.Err != nil {
		r.unseen(age, "server", x.Ages.Err, "")
	} else {
		r.each(age, "server", fmt.Sprintf("each database is less than %d million transactions old", ageWarn/1_000_000), func() {
			for _, f := range x.Ages.V {
				r.age(age, f)
			}
		})
	}
	switch full := x.Notify.V; {
	case x.Notify.Err != nil:
		r.unseen(notifications, "server", x.Notify.Err, "")
	case full < notifyWarn:
		r.ok(notifications, "server", "the queue is at %.0f %%", 100*full)
	default:
		level := relay.LevelWarn
		if full >= notifyFail {
			level = relay.LevelFail
		}
		r.add(notifications, level, "server", "end the oldest open transaction of a session that listens; the server's log names its pid, or look for it: SELECT pid, application_name, xact_start "+
			"FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' ORDER BY xact_start", "the queue of notifications is at %.0f %%: a session that listens does not take them", 100*full)
	}
}

func (r *report) age(id string, f postgres.AgeFacts) {
	kind, age := "transactions", f.Transactions
	if f.Multixacts > age {
		kind, age = "multixacts", f.Multixacts
	}
	if age < ageWarn {
		return
	}
	level := relay.LevelWarn
	if age >= ageFail {
		level = relay.LevelFail
	}
	r.add(id, level, f.Database, "end what holds vacuum back (database.transactions, database.prepared, database.slots), then in this database: VACUUM (FREEZE)",
		"it is %d million %s old, of the %d million after which the server refuses every write", age/1_000_000, kind, ageEnd/1_000_000)
}
