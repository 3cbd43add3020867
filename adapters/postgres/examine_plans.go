package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// hotStatements are those that the relay runs all the time, by name. Each has to find its rows by an index.
var hotStatements = map[string]string{"ids": sqlIDs, "dense": sqlDense, "sparse": sqlSparse, "claim": sqlClaim, "settle": sqlSettle, "take": sqlTake,
	"settle_held": sqlSettleHeld, "closed": sqlClosed, "touched": sqlTouched, "due": sqlDue, "untake": sqlUntake}

// Index is one of a table of the schema, those of partitions left out.
type Index struct {
	Name, Table string
	Valid       bool
}

// PlanFacts say how the planner would run the relay's statements in a session of the relay, as it is now.
type PlanFacts struct {
	Indexes []Index
	Whole   []WholeScan
	Off     []PlannerSetting // ways by an index that somebody has switched off
	Refused []string         // statements that the server does not take, with its words
}

// WholeScan is a statement that would read every row of a table.
type WholeScan struct{ Statement, Table string }

// PlannerSetting is a setting with where it comes from, as pg_settings.source says it.
type PlannerSetting struct{ Name, Source string }

const (
	sqlOwnIndexes = `SELECT i.relname::text, t.relname::text, x.indisvalid FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
WHERE t.relnamespace = to_regnamespace($1) AND NOT t.relispartition ORDER BY 1`
	sqlPlannerOff = `SELECT name, source FROM pg_settings WHERE name IN ('enable_indexscan', 'enable_indexonlyscan') AND setting = 'off' ORDER BY 1`
)

// plans asks over a connection that is like the relay's, since the settings of a session decide.
func (e *examiner) plans(ctx context.Context) (f PlanFacts, err error) {
	pc, err := e.cfg.ConnConfig("reader")
	if err != nil {
		return f, err
	}
	pc.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := connect(ctx, pc)
	if err != nil {
		return f, err
	}
	defer closeConn(conn)
	if err := takeRole(ctx, conn, e.cfg.Schema+"_relay"); err != nil {
		return f, err
	}
	asked := &examiner{cfg: e.cfg, conn: conn}
	if f.Indexes, err = rows[Index](asked, sqlOwnIndexes, e.cfg.Schema)(ctx); err != nil {
		return f, err
	}
	if f.Off, err = rows[PlannerSetting](asked, sqlPlannerOff)(ctx); err != nil {
		return f, err
	}
	for _, name := range slices.Sorted(maps.Keys(hotStatements)) {
		tables, err := wholeScans(ctx, conn, e.sql(hotStatements[name]))
		switch state := sqlState(err); {
		case err == nil:
		case strings.HasPrefix(state, "42") && state != stateDenied && state != stateTwiceStatement: // such as an index that ON CONFLICT needs and that is gone
			f.Refused = append(f.Refused, name+": "+err.Error())
		default:
			return f, fmt.Errorf("%s: %w", name, err)
		}
		for _, t := range tables {
			f.Whole = append(f.Whole, WholeScan{name, t})
		}
	}
	return f, nil
}

var parameter = regexp.MustCompile(`\$(\d+)`)

// wholeScans explains a statement without running it, by a plan for any arguments, and names the tables of messages that it would read whole.
func wholeScans(ctx context.Context, conn *pgx.Conn, sql string) ([]string, error) {
	args := 0
	for _, m := range parameter.FindAllStringSubmatch(sql, -1) {
		n := 0
		_, _ = fmt.Sscan(m[1], &n) // digits
		args = max(args, n)
	}
	call := "waybill_doctor"
	if args > 0 {
		call += "(" + strings.TrimSuffix(strings.Repeat("NULL, ", args), ", ") + ")"
	}
	if _, err := conn.Exec(ctx, `PREPARE waybill_doctor AS `+sql); err != nil {
		return nil, err
	}
	var text string
	err := conn.QueryRow(ctx, `EXPLAIN (FORMAT JSON) EXECUTE `+call).Scan(&text)
	if _, err := conn.Exec(ctx, `DEALLOCATE waybill_doctor`); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		return nil, fmt.Errorf("its plan cannot be read: %w", err)
	}
	found := plans[0].Plan.whole(nil)
	slices.Sort(found)
	return slices.Compact(found), nil
}

// planNode is what EXPLAIN says of one step.
type planNode struct {
	Type     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Plans    []planNode `json:"Plans"`
}

// whole collects the large tables that are read whole. The default partitions are as good as empty.
func (n planNode) whole(found []string) []string {
	if n.Type == "Seq Scan" && !strings.HasSuffix(n.Relation, "_rest") {
		for _, table := range []string{"message_log", "message_pending", "message_held", "receipts"} {
			if n.Relation == table || strings.HasPrefix(n.Relation, table+"_") {
				found = append(found, table)
			}
		}
	}
	for _, p := range n.Plans {
		found = p.whole(found)
	}
	return found
}
