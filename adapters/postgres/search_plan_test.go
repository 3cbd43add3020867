package postgres_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// hotRows is what one key holds.
const hotRows = 25_000

// searchWindow is how many messages a search looks at.
const searchWindow = 10_000

// searchCase is a page of the dashboard with what its plan may cost.
type searchCase struct {
	filter  string
	before  relay.ID
	rows    int64 // most rows read from message_log
	buffers int64
	held    int64 // most rows read from message_held, and no sequential scan; 0 = not looked at
}

// TestSearchPlans: what people ask costs the same however much was sent, whatever the statistics and the number of partitions are, with the server's default costs:
// no sequential scan of the log, none of another table for each id, no merge or hash join, no row of the log beyond those that are searched.
func TestSearchPlans(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		for _, partitions := range []int{1, 64} {
			t.Run(fmt.Sprint(partitions, " partitions"), func(t *testing.T) {
				d := newOutbox(t, major)
				splitLog(d, partitions)
				for _, table := range []string{"message_log", "message_pending", "message_held", "message_discarded"} {
					d.exec(`ANALYZE outbox.` + table)
				}
				fillForSearches(d)
				for _, statistics := range []string{"of the empty tables", "none", "of all rows"} {
					setStatistics(d, statistics)
					for _, c := range append(searchCases(), hotCases(hotRows+2*relay.DefaultPage)...) {
						text, args := c.statement(t)
						c.check(t, "statistics "+statistics, explainWith(t, d.conn, text, args...), partitions)
					}
				}
			})
		}
	})
}

// TestSearchPlansOfALongLife: a connection of the dashboard plans each statement once, often while nothing waits. Those plans must hold when much does.
func TestSearchPlansOfALongLife(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		const partitions = 8
		d := newOutbox(t, major)
		splitLog(d, partitions)
		for _, table := range []string{"message_log", "message_pending", "message_held", "message_discarded"} {
			d.exec(`ANALYZE outbox.` + table)
		}
		inspector, err := postgres.OpenInspector(postgres.Config{URL: d.url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(inspector.Close)
		conn, err := inspector.Acquire(ctxOf(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Release)
		execute := func(i int, c searchCase) node {
			_, args := c.statement(t)
			return explainWith(t, conn.Conn(), fmt.Sprintf(`EXECUTE search_%d(%s)`, i, literals(args)))
		}
		cases := append(searchCases(), hotCases(0)...)
		for i, c := range cases {
			text, _ := c.statement(t)
			if _, err := conn.Conn().Prepare(ctxOf(t), fmt.Sprint("search_", i), text); err != nil {
				t.Fatal(err)
			}
			execute(i, c)
		}
		fillForSearches(d)
		for i, c := range cases {
			c.check(t, "planned when empty", execute(i, c), partitions)
		}
		setStatistics(d, "none")
		for i, c := range cases[len(searchCases()):] {
			c.check(t, "without statistics", execute(len(searchCases())+i, c), partitions)
		}
	})
}

// literals are arguments as EXECUTE takes them.
func literals(args []any) string {
	var all []string
	for _, a := range args {
		switch a := a.(type) {
		case []string:
			all = append(all, `'{"`+strings.Join(a, `","`)+`"}'`)
		case []int64:
			all = append(all, `'{`+strings.Trim(strings.ReplaceAll(fmt.Sprint(a), " ", ","), "[]")+`}'`)
		case time.Time:
			all = append(all, `'`+a.Format(time.RFC3339)+`'`)
		default:
			all = append(all, fmt.Sprintf("%d", a))
		}
	}
	return strings.Join(all, ", ")
}

// fillForSearches writes messages of which the newest ones are held, those before them pending, some discarded, and all others sent.
func fillForSearches(d *database) {
	d.exec(`SET session_replication_role = replica`)
	d.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT 't', CASE WHEN i > $1 - $2 THEN 'hot' ELSE 'k' || i END, convert_to(repeat('x', 100), 'UTF8') FROM generate_series(1, $1) i`, planRows, hotRows)
	d.exec(`INSERT INTO outbox.message_pending SELECT generate_series($1::bigint - 199999, $1 - 100000)`, planRows)
	d.exec(`INSERT INTO outbox.message_held (id, state, topic, key, destination, passed, fingerprint) SELECT id, CASE WHEN id > $1 - 40000 THEN 'blocked' ELSE 'dead' END, topic, key, 'd', id % 10 = 0,
		CASE WHEN id <= $1 - 40000 THEN id % 20 END FROM outbox.message_log WHERE id > $1::bigint - 100000`, planRows)
	d.exec(`INSERT INTO outbox.message_discarded (id, activity_id, attempts) SELECT generate_series(1, 100000), 1, 0`)
}

func searchCases() []searchCase {
	const page = relay.DefaultPage + 1
	return []searchCase{
		{"", 0, 2 * page, 2000, 0},
		{"", planRows / 2, 2 * page, 2000, 0},
		{"topic:t", 0, searchWindow + page, 3000, 0},
		{"key:k77", 0, searchWindow + page, 3000, 0},
		{"topic:t key:k77 state:sent", planRows / 2, searchWindow + page, 3000, 0},
		{"since:2020-01-01 -state:sent", planRows / 2, searchWindow + page, 10*searchWindow + 3000, 0},
		{"state:sent", 0, searchWindow + page, 10*searchWindow + 3000, 0},
		{"state:sent", planRows / 3, searchWindow + page, 3000, 0},
		{"state:discarded,scheduled", planRows / 2, searchWindow + page, 10*searchWindow + 3000, 0},
		{"-id:5", planRows / 2, searchWindow + 2*page, 3000, 0},
		{"state:pending", 0, 2 * page, 3000, 0},
		{"state:pending key:k77", 0, searchWindow + page, 15*searchWindow + 3000, 0},
		{"state:discarded topic:nothing", 0, searchWindow + page, 15*searchWindow + 3000, 0},
		{"state:dead", 0, page, 2000, 0},
		{"state:blocked,dead", 0, page, 2000, 0},
		{"failure:0000000000000007", 0, page, 2000, 0},
		{"state:dead,retrying,blocked topic:t key:k450000", 0, page, 500, 5 * page},
		{"state:dead,retrying,blocked topic:t key:k450001,k450002,nothing", 0, 2 * page, 500, 5 * page},
		{"state:dead topic:t key:k450000 class:nothing", 0, page, 500, 5 * page},
		{"destination:d topic:t key:k450000", 0, page, 500, 5 * page},
		{"failure:0000000000000007 topic:t key:k450007", 0, page, 500, 5 * page},
		{"destination:d", 0, page, 2000, 1000 + page},
		{"destination:d", planRows - 50_000, page, 2000, 1000 + page},
		{"destination:nothing", 0, page, 3000, 50_000 + page},
		{"class:nothing -topic:t", 0, page, 3000, 50_000 + page},
		{"class:nothing age<1h", 0, page, 3000, 50_000 + page},
		{"failure:0000000000000007 age<1h", 0, searchWindow + page, 15 * searchWindow, 0},
	}
}

// hotCases are about one key with a quarter of all that is held. A page reads no more of it than it shows, as the dashboard's connections plan; with the costs and without
// the statistics of the test above it may read what the key holds, and nothing else.
func hotCases(whole int64) []searchCase {
	const page = relay.DefaultPage + 1
	return []searchCase{
		{"state:dead,retrying,blocked topic:t key:hot", 0, page, 3000, max(whole, 3*page)},
		{"state:dead,retrying,blocked topic:t key:hot", planRows - 10_000, page, 3000, max(whole, 3*page)},
		{"state:retrying topic:t key:hot", 0, page, 1500, max(whole, 10_001)},
	}
}

func (c *searchCase) statement(t *testing.T) (text string, args []any) {
	t.Helper()
	f, err := relay.ParseFilter(c.filter)
	if err != nil {
		t.Fatal(err)
	}
	return postgres.SearchStatement(f, c.before)
}

func (c *searchCase) check(t *testing.T, when string, plan node, partitions int) {
	t.Helper()
	name := fmt.Sprintf("%q below %d, %s", c.filter, c.before, when)
	var wrong []string
	var fromLog, fromHeld float64
	plan.walk(func(n *node) {
		log := strings.HasPrefix(n.Relation, "message_log")
		// To read a narrow table once is a way to 10,000 rows of it; to read it for each id is not. The default partition is empty.
		dear := n.Type == "Seq Scan" && strings.HasPrefix(n.Relation, "message_") && (log || n.Loops > 1 || c.held > 0 && n.Relation == "message_held") && !strings.HasSuffix(n.Relation, "_rest")
		if n.Loops > 0 && (dear || n.Type == "Merge Join" || n.Type == "Hash Join") {
			wrong = append(wrong, n.Type+" "+n.Relation)
		}
		if log {
			fromLog += n.Rows * n.Loops
		}
		if n.Relation == "message_held" {
			fromHeld += n.Rows * n.Loops
		}
	})
	// The first rows of each partition are looked for at the beginning.
	most := float64(c.rows + int64(partitions))
	if len(wrong) > 0 || fromLog > most || plan.Hit+plan.Read > c.buffers || c.held > 0 && fromHeld > float64(c.held) {
		t.Errorf("%s: %v, %.0f rows of the log (at most %.0f), %.0f of those held (at most %d), %d buffers (at most %d)", name, wrong, fromLog, most, fromHeld, c.held, plan.Hit+plan.Read, c.buffers)
	}
}

// explainWith runs a statement that only reads.
func explainWith(t *testing.T, conn *pgx.Conn, text string, args ...any) node {
	t.Helper()
	var out string
	if err := conn.QueryRow(ctxOf(t), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) `+text, append([]any{pgx.QueryExecModeDescribeExec}, args...)...).Scan(&out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(out), &plans); err != nil || len(plans) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	return plans[0].Plan
}
