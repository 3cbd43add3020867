package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
)

const (
	planRows = 500_000
	planPage = 2000
)

// node is one node of an explained plan.
type node struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Loops    float64 `json:"Actual Loops"`
	Hit      int64   `json:"Shared Hit Blocks"`
	Read     int64   `json:"Shared Read Blocks"`
	Plans    []node  `json:"Plans"`
}

func (n *node) walk(visit func(*node)) {
	visit(n)
	for i := range n.Plans {
		n.Plans[i].walk(visit)
	}
}

// planCase is one statement with its arguments and what its plan may cost.
type planCase struct {
	statement string
	args      string
	rows      int64 // most rows read from message_log; 0 = none
	buffers   int64
}

// TestPlans (F11): the hot statements on 500,000 rows, whatever the statistics, the holes and the number of partitions are: no sequential scan of the log or of
// pending, no merge or hash join, no row of the log that was not asked for, below 4 buffers a row. All with the planner settings of the relay's sessions, the statements of
// the usual path also with the server's defaults, so that a pooler that loses the settings costs little.
func TestPlans(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		for _, partitions := range []int{1, 8, 64} {
			t.Run(fmt.Sprint(partitions, " partitions"), func(t *testing.T) {
				d := newOutbox(t, major)
				splitLog(d, partitions)
				d.exec(`ANALYZE outbox.message_log`)
				d.exec(`ANALYZE outbox.message_pending`)
				o := d.own()
				fillForPlans(d)
				for _, statistics := range []string{"of the empty tables", "none", "of all rows"} {
					setStatistics(d, statistics)
					for _, session := range []string{"reader", "housekeeper"} {
						t.Run("statistics "+statistics+", planner of the "+session, func(t *testing.T) {
							checkPlans(t, d, session, int64(o.lease.Epoch))
						})
					}
				}
			})
		}
	})
}

// TestPlansOfALongLife: a relay plans each statement once, for as long as its connection lives, often while nothing is held, or nothing that is held is due.
// Those plans must hold when much is.
func TestPlansOfALongLife(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		for _, c := range []struct {
			name         string
			before, then func(d *database)
		}{
			{"empty", func(*database) {}, fillForPlans},
			{"nothing due", func(d *database) {
				fillForPlans(d)
				d.exec(`UPDATE outbox.message_held SET due_at = NULL`)
				d.exec(`VACUUM (FULL, ANALYZE) outbox.message_held`)
			}, func(d *database) { d.exec(`UPDATE outbox.message_held SET due_at = now()`) }},
		} {
			t.Run("planned when "+c.name, func(t *testing.T) {
				d := newOutbox(t, major)
				splitLog(d, 8)
				o := d.own()
				conn := planner(t, d, "reader")
				c.before(d)
				cases := planCases(int64(o.lease.Epoch))
				for _, p := range cases {
					explain(t, conn, p)
				}
				c.then(d)
				for _, p := range cases {
					p.check(t, explain(t, conn, p))
				}
			})
		}
	})
}

// fillForPlans writes what the plans are about: one pending id far back with dead entries behind it, heads that are due, and messages released behind other
// heads.
func fillForPlans(d *database) {
	d.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', 'k' || i % 1000, convert_to(repeat('x', 100), 'UTF8') FROM generate_series(1, $1) i`, planRows)
	d.exec(`DELETE FROM outbox.message_pending WHERE id BETWEEN 2 AND $1`, planRows/2)
	d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination, due_at) SELECT id, 'retrying', topic, 'h' || id, CASE WHEN id % 2 = 0 THEN 'k' ELSE 'down' END, now()
		FROM outbox.message_log WHERE id BETWEEN 2 AND 20001`)
	d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination, due_at) SELECT id, 'blocked', topic, 'b' || id % 20, 'k', now()
		FROM outbox.message_log WHERE id BETWEEN 20002 AND 30001`)
	d.exec(`INSERT INTO outbox.activity (id, actor, via, action, changed, ids, prev_hash, hash) SELECT i, 'a', 'cli', 'retry', 500, ARRAY(SELECT generate_series(1000 * i, 1000 * i + 499)::bigint), '', ''
		FROM generate_series(1, 2) i`)
}

// splitLog makes n partitions of the ids that the test writes.
func splitLog(d *database, n int) {
	d.exec(`DROP TABLE outbox.message_log_0, outbox.message_log_1000000, outbox.receipts_0, outbox.receipts_1000000`)
	width := planRows/n + 1
	for i := range n {
		d.exec(`SELECT outbox.add_partition($1, $2)`, i*width, (i+1)*width)
	}
}

func setStatistics(d *database, which string) {
	switch which {
	case "none":
		d.exec(`DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'outbox'::regnamespace)`)
		d.exec(`UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relnamespace = 'outbox'::regnamespace AND relkind IN ('r', 'i')`)
	case "of all rows":
		d.exec(`ANALYZE outbox.message_log`)
		d.exec(`ANALYZE outbox.message_pending`)
	}
}

func planCases(epoch int64) []planCase {
	holes := func(n int) (lo, hi string) {
		var los, his []string
		for i := range n {
			at := 1 + i*200
			los, his = append(los, fmt.Sprint(at)), append(his, fmt.Sprint(at+1))
		}
		return `'{` + strings.Join(los, ",") + `}'`, `'{` + strings.Join(his, ",") + `}'`
	}
	const first, most = planRows/2 + 10_001, int64(4 * planPage)
	var cases []planCase
	for _, n := range []int{0, 1, 1000} {
		lo, hi := holes(n)
		cases = append(cases, planCase{"ids", fmt.Sprintf(`%d, %s, %s, %d, %d`, epoch, lo, hi, first-1, planPage), 0, most})
	}
	var far []string
	far = append(far, "1")
	for i := range planPage - 1 {
		far = append(far, fmt.Sprint(first+i))
	}
	list := `'{` + strings.Join(far, ",") + `}'`
	return append(cases,
		planCase{"dense", fmt.Sprintf(`%d, %d, 65536, 8388608`, first, first+planPage-1), planPage, most},
		planCase{"sparse", fmt.Sprintf(`1, %d, 65536, 8388608, %s`, first+planPage-2, list), planPage, most},
		planCase{"claim", fmt.Sprintf(`%d, 7, (SELECT incarnation FROM outbox.alive)`, epoch), 0, 200},
		planCase{"settle", fmt.Sprintf(`%d, '{%d}', '{%d}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', false`, epoch, first, first+planPage-1), 0, most},
		planCase{"take", fmt.Sprintf(`%d, '{k}', 0, 65536, 8388608, 500, '{}', '{}', '{}'`, epoch), 1000, 30_000}, // with a dead version of each row
		planCase{"settle_held", settleHeld(epoch), 200, 40_000},
		planCase{"closed", `'t', 'b', 1000`, 0, 20_000}, // twenty keys of 500 messages, then 980 of one
		planCase{"touched", `0, 1000, 5000`, 1000, 8_000},
	)
}

// settleHeld makes 100 heads dead and releases 20 keys.
func settleHeld(epoch int64) string {
	list := func(n int, value func(int) string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = value(i)
		}
		return `'{` + strings.Join(all, ",") + `}'`
	}
	all := func(n int, value string) string { return list(n, func(int) string { return value }) }
	return fmt.Sprintf(`%d, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, false`, epoch, list(100, func(i int) string { return fmt.Sprint(2 + i) }),
		all(100, "dead"), all(100, "NULL"), all(100, "1"), all(100, "k"), all(100, "rejected"), all(100, "refused"), all(100, "1"), all(100, "test"), all(100, "7"),
		all(100, "f"), all(20, "t"), list(20, func(i int) string { return fmt.Sprint("b", i) }), all(20, "0"))
}

func checkPlans(t *testing.T, d *database, session string, epoch int64) {
	conn := planner(t, d, session)
	for _, c := range planCases(epoch) {
		if session == "reader" || !slices.Contains([]string{"take", "settle_held", "closed", "touched"}, c.statement) {
			c.check(t, explain(t, conn, c))
		}
	}
}

// planner is a connection with the settings of a session of the relay and the hot statements prepared.
func planner(t *testing.T, d *database, session string) *pgx.Conn {
	t.Helper()
	pc, err := postgres.Config{URL: d.url, Schema: "outbox"}.ConnConfig(session)
	if err != nil {
		t.Fatal(err)
	}
	pc.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	pc.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctxOf(t), pc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(ctxOf(t))) })
	for name, sql := range postgres.HotStatements {
		if _, err := conn.Exec(ctxOf(t), `PREPARE `+name+` AS `+sql); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return conn
}

func (c *planCase) check(t *testing.T, plan node) {
	t.Helper()
	var joins, scans []string
	var fromLog float64
	var buffers int64 // of the node that costs most: the changes of a WITH are not counted into the node above them
	plan.walk(func(n *node) {
		buffers = max(buffers, n.Hit+n.Read)
		ours := strings.HasPrefix(n.Relation, "message_log") || n.Relation == "message_pending" || n.Relation == "message_held"
		switch {
		case n.Type == "Seq Scan" && ours && n.Loops > 0 && !strings.HasSuffix(n.Relation, "_rest"): // the default partition is empty
			scans = append(scans, n.Relation)
		case n.Type == "Merge Join", n.Type == "Hash Join":
			joins = append(joins, n.Type)
		}
		if strings.HasPrefix(n.Relation, "message_log") {
			fromLog += n.Rows * n.Loops
		}
	})
	if len(scans)+len(joins) > 0 || fromLog > float64(c.rows) || buffers > c.buffers {
		t.Errorf("%s: sequential scans %v, joins %v, %.0f rows of the log (at most %d), %d buffers (at most %d)", c.statement, scans, joins, fromLog, c.rows, buffers, c.buffers)
	}
}

// explain runs a statement and takes its changes back.
func explain(t *testing.T, conn *pgx.Conn, c planCase) node {
	t.Helper()
	tx, err := conn.Begin(ctxOf(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctxOf(t)) }()
	var text string
	args := c.args
	if c.statement == "claim" { // EXECUTE takes no subquery
		var in string
		if err := tx.QueryRow(ctxOf(t), `SELECT incarnation::text FROM outbox.alive`).Scan(&in); err != nil {
			t.Fatal(err)
		}
		args = strings.Replace(args, "(SELECT incarnation FROM outbox.alive)", "'"+in+"'", 1)
	}
	if err := tx.QueryRow(ctxOf(t), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE `+c.statement+`(`+args+`)`).Scan(&text); err != nil {
		t.Fatalf("%s: %v", c.statement, err)
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		t.Fatalf("%s: %v in %s", c.statement, err, text)
	}
	return plans[0].Plan
}
