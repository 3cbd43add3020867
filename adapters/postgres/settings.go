package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// settings of each connection. The planner is told to walk indexes because the tables are never analyzed at their usual size; generic plans because a plan
// for each call costs more than it saves.
func settings(role string, most time.Duration) map[string]string {
	m := map[string]string{
		"application_name":              "waybill/0/" + role,
		"default_transaction_isolation": "read committed",
		"default_transaction_read_only": "off",
		"statement_timeout":             millis(most),
		"jit":                           "off",
	}
	ownLimits(m)
	switch role {
	case "lease":
		m["statement_timeout"], m["synchronous_commit"] = millis(min(most, 2*time.Second)), "on"
	case "claimer":
		m["statement_timeout"], m["synchronous_commit"] = millis(min(most, 5*time.Second)), "on"
	case "reader", "settler":
		m["synchronous_commit"] = "off"
	case "housekeeper":
		m["statement_timeout"], m["lock_timeout"] = "60000", "200"
	case "operations":
		m["statement_timeout"], m["lock_timeout"], m["random_page_cost"] = "1000", "500", "1.1"
	}
	switch role {
	case "reader", "claimer", "settler":
		m["plan_cache_mode"], m["random_page_cost"] = "force_generic_plan", "1.1"
		for _, off := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"} {
			m[off] = "off"
		}
	}
	return m
}

func millis(d time.Duration) string { return fmt.Sprint(max(d.Milliseconds(), 1)) }

// ownLimits sets every limit of a session's, so that none which somebody set for the whole database or login ends its statements. The relay's sessions wait for
// each other at the owner row: a limit for locks would look like a person's lock.
func ownLimits(m map[string]string) {
	m["lock_timeout"], m["idle_session_timeout"], m["idle_in_transaction_session_timeout"] = "0", "0", "10s"
}

// noTransactionLimit does the same for the limit that PostgreSQL 17 brought. It is set behind the connection: an older server refuses one that names it.
func noTransactionLimit(ctx context.Context, c *pgconn.PgConn) error {
	var major int
	if n, err := fmt.Sscanf(c.ParameterStatus("server_version"), "%d", &major); n != 1 || err != nil || major < 17 {
		return nil
	}
	return c.Exec(ctx, `SET transaction_timeout = 0`).Close()
}
