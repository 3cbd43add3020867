package postgres_test

import (
	"encoding/json"
	"fmt"
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
				d.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', 'k' || i % 1000, convert_to(repeat('x', 100), 'UTF8') FROM generate_series(1, $1) i`, planRows)
				d.exec(`DELETE FROM outbox.message_pending WHERE id BETWEEN 2 AND $1`, planRows/2) // one id far back, dead entries behind it
				d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination, due_at) SELECT id, 'retrying', topic, 'h' || id, CASE WHEN id % 2 = 0 THEN 'k' ELSE 'down' END, now()
					FROM outbox.message_log WHERE id BETWEEN 2 AND 20001`)
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
		planCase{"take", fmt.Sprintf(`%d, '{k}', 500, 65536, 8388608`, epoch), 1000, 20_000},
	)
}

func checkPlans(t *testing.T, d *database, session string, epoch int64) {
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
	defer func() { _ = conn.Close(ctxOf(t)) }()
	for name, sql := range postgres.HotStatements {
		if _, err := conn.Exec(ctxOf(t), `PREPARE `+name+` AS `+sql); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, c := range planCases(epoch) {
		if session != "reader" && c.statement == "take" {
			continue
		}
		plan := explain(t, conn, c)
		var joins, scans []string
		var fromLog float64
		plan.walk(func(n *node) {
			ours := strings.HasPrefix(n.Relation, "message_log") || n.Relation == "message_pending"
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
		if len(scans)+len(joins) > 0 || fromLog > float64(c.rows) || plan.Hit+plan.Read > c.buffers {
			t.Errorf("%s: sequential scans %v, joins %v, %.0f rows of the log (at most %d), %d buffers (at most %d)", c.statement, scans, joins, fromLog, c.rows, plan.Hit+plan.Read, c.buffers)
		}
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
