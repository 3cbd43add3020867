package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// JudgeRights judges who may do what: the fences that hold also when a program is wrong.
func JudgeRights(x postgres.Examination) []Finding {
	r := report{}
	if x.Login.Err != nil {
		r.unseen("rights.login", "database.url", x.Login.Err, "")
	} else {
		r.login(x.Schema, x.Login.V)
	}
	if x.Version.V == 0 {
		return r.found
	}
	r.roles(x)
	r.each("rights.public", x.Schema, "everybody may nothing", func() {
		if x.Public.Err != nil {
			r.unseen("rights.public", x.Schema, x.Public.Err, "")
		}
		for _, right := range x.Public.V {
			privilege, object, _ := strings.Cut(right, " on ")
			r.add("rights.public", relay.LevelFail, object, fmt.Sprintf("REVOKE %s ON %s FROM PUBLIC", privilege, object), "every login has %s", privilege)
		}
	})
	r.each("rights.search_path", x.Schema, "every function that runs as the owner has a fixed one", func() {
		if x.Definers.Err != nil {
			r.unseen("rights.search_path", x.Schema, x.Definers.Err, "")
		}
		for _, f := range x.Definers.V {
			r.add("rights.search_path", relay.LevelFail, f, "ALTER FUNCTION "+f+" SET search_path = pg_catalog, pg_temp", "it runs as its owner with the search_path of its caller")
		}
	})
	return r.found
}

// needed are the roles that the login of a relay should have, and for what.
var needed = []struct {
	role, lacks string
	level       relay.Level
}{
	{"relay", "a relay cannot work with it", relay.LevelFail},
	{"operator", "nobody can retry, skip or discard with it", relay.LevelWarn},
}

func (r *report) login(schema string, l postgres.LoginFacts) {
	subject := "login " + l.Name
	single := len(l.Exists) > 0 && !l.Exists["relay"]
	r.each("rights.login", subject, "it has the roles that it needs", func() {
		for _, n := range needed {
			if !single && !l.Superuser && !l.Member[n.role] {
				r.add("rights.login", n.level, subject, fmt.Sprintf("GRANT %s_%s TO %s", schema, n.role, ident(l.Name)), "it lacks role %s_%s: %s", schema, n.role, n.lacks)
			}
		}
	})
	if l.Superuser {
		r.add("rights.superuser", relay.LevelWarn, subject, fmt.Sprintf("CREATE ROLE waybill LOGIN PASSWORD '…' IN ROLE %s_relay, %s_operator, pg_monitor; and name it in database.url", schema, schema), "it is a superuser")
	} else {
		r.ok("rights.superuser", subject, "it is no superuser")
	}
	if l.SeesOthers {
		r.ok("rights.monitor", subject, "it sees the transactions of other logins")
	} else {
		r.add("rights.monitor", relay.LevelWarn, subject, "GRANT pg_monitor TO "+ident(l.Name), "it does not see the transactions of other logins")
	}
	if single {
		r.add("rights.separate", relay.LevelWarn, schema, "on a server that lets you create roles, make the outbox with: waybill migrate up", "it was made without roles (--single-role)")
	} else {
		r.ok("rights.separate", schema, "producers, relay and people have roles of their own")
	}
}

// roles judges the rights of the outbox's roles against what each is for.
func (r *report) roles(x postgres.Examination) {
	if x.Rights.Err != nil {
		for _, id := range []string{"rights.producer", "rights.relay", "rights.people"} {
			r.unseen(id, x.Schema, x.Rights.Err, "")
		}
		return
	}
	if x.Login.Err == nil && !x.Login.V.Exists["relay"] {
		return // nothing to compare: rights.separate says so
	}
	for _, c := range []struct {
		id, fine string
		roles    []string
		wrong    func(postgres.Right) bool
	}{
		{"rights.producer", "applications publish and see nothing", []string{"producer"}, producerToo},
		{"rights.relay", "it can change no message", []string{"relay"}, relayToo},
		{"rights.people", "they see no payload and write no table", []string{"viewer", "operator", "payload", "monitor"}, peopleToo},
	} {
		r.each(c.id, x.Schema, c.fine, func() {
			for _, right := range x.Rights.V {
				if slices.Contains(c.roles, right.Role) && c.wrong(right) {
					role, table := x.Schema+"_"+right.Role, x.Schema+"."+right.Table
					r.add(c.id, relay.LevelFail, role, fmt.Sprintf("REVOKE %s ON %s FROM %s", right.Privilege, table, role), "it has %s on %s", right.Privilege, table)
				}
			}
		})
	}
}

func producerToo(r postgres.Right) bool {
	return r.Privilege != "INSERT" || r.Table != "message_log"
}

// relayToo: the log is immutable, and nothing goes back to pending.
func relayToo(r postgres.Right) bool {
	switch {
	case r.Privilege == "SELECT":
		return false
	case r.Privilege == "TRUNCATE", r.Partition:
		return true
	case strings.HasPrefix(r.Table, "message_log"):
		return true
	}
	return r.Table == "message_pending" && r.Privilege != "DELETE"
}

// peopleToo: acts and reveals go through functions that write down who did them.
func peopleToo(r postgres.Right) bool {
	if r.Privilege == "SELECT" {
		return r.Content
	}
	return strings.HasPrefix(r.Table, "message_") || r.Table == "activity" || r.Table == "owner" || r.Table == "receipts" || r.Partition
}
