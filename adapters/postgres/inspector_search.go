package postgres

import (
	"slices"
	"strconv"
	"strings"

	"github.com/waybillmq/waybill/relay"
)

// A search looks at each id only as far as it must: first at what the log says, then at the state, and at the whole message only for what the page shows. OFFSET 0
// keeps the planner from joining the ids with the whole log instead: without statistics it takes that for cheap.
const (
	statusView = `SELECT v.* FROM outbox.message_status v WHERE v.id = c.id OFFSET 0`
	// statusProbes says of an id of the log what the view says, without looking the id up in every partition again.
	statusProbes = `SELECT CASE WHEN h.state = 'dead' THEN 'dead' WHEN h.id IS NOT NULL OR p.id IS NOT NULL THEN 'pending' WHEN d.id IS NOT NULL THEN 'discarded' ELSE 'sent' END AS state,
  CASE WHEN h.state <> 'dead' THEN h.state WHEN p.id IS NOT NULL AND c.deliver_after > now() THEN 'scheduled' END AS detail, h.destination, coalesce(h.class, d.class) AS class
  FROM (VALUES (1)) x LEFT JOIN outbox.message_pending p ON p.id = c.id LEFT JOIN outbox.message_held h ON h.id = c.id LEFT JOIN outbox.message_discarded d ON d.id = c.id OFFSET 0`
)

// fromLog searches in the log itself, for what no other table can answer.
func (q *listQuery) fromLog(f relay.Filter) {
	q.whole, q.status = len(f.Terms) == 0, statusProbes
	columns := []string{"m.id"}
	add := func(column string) {
		if !slices.Contains(columns, column) {
			columns = append(columns, column)
		}
	}
	for _, t := range f.Terms {
		switch t.Name {
		case "topic", "key":
			add("m." + t.Name)
			q.early = append(q.early, q.where(t, "c."))
		case "age", "since", "until":
			add("m.created_at")
			q.early = append(q.early, q.where(t, "c."))
		default:
			if t.Name == "id" { // message ids are made by the view, one by one: too dear for ids that nobody will see
				q.status = statusView
			}
			add("m.deliver_after")
			q.wheres = append(q.wheres, q.where(t, "s."))
		}
	}
	q.source = `SELECT ` + strings.Join(columns, ", ") + ` FROM outbox.message_safe m WHERE m.id < $1 ORDER BY m.id DESC LIMIT @most`
}

// fromHeld filters in message_held itself by what it has columns for, along the index of a key, failure or state that is asked for.
func (q *listQuery) fromHeld(f relay.Filter) {
	q.whole = true
	for _, t := range f.Terms {
		if !heldColumn(t) {
			q.whole = false
			q.wheres = append(q.wheres, q.where(t, "s."))
		}
	}
	along, keys := heldAlong(f), heldKeys(f)
	switch {
	case keys != nil && (along < 0 || ofEachKey(f.Terms[along])):
		q.source = q.alongKeys(f, keys)
	case keys != nil:
		q.source = q.alongFewKeys(f, keys, along)
	case along >= 0:
		q.source = q.alongIndex(f, along)
	default:
		conditions := strings.Join(q.heldConditions(f, "h."), " AND ")
		q.source = `SELECT h.id FROM outbox.message_held h WHERE h.id < $1 AND ` + conditions + ` ORDER BY h.id DESC LIMIT @most`
		q.near = conditions
	}
}

// heldColumn says that message_held alone can judge a term.
func heldColumn(t relay.Term) bool {
	return t.Name != "age" && t.Name != "since" && t.Name != "until" && t.Name != "id"
}

// heldConditions are the terms that message_held can judge, but for those that the walk itself is about.
func (q *listQuery) heldConditions(f relay.Filter, prefix string, but ...int) (conditions []string) {
	for i, t := range f.Terms {
		switch {
		case !heldColumn(t) || slices.Contains(but, i):
		case t.Name == "state":
			conditions = append(conditions, q.heldState(t, prefix))
		default:
			conditions = append(conditions, q.where(t, prefix))
		}
	}
	return conditions
}

// alongIndex walks the index of a failure or state, for each value of the term.
func (q *listQuery) alongIndex(f relay.Filter, along int) string {
	column, values := "state", ""
	if t := f.Terms[along]; t.Name == "failure" {
		column, values = "fingerprint", q.arg(distinct(failureIDs(t.Values)))+"::bigint[]"
	} else {
		values = q.arg(distinct(t.Values)) + "::text[]"
	}
	// Not `column = a.value`: with it the order by id alone would do, and the planner walks all ids that come before the first one of this value.
	conditions := append([]string{"(h." + column + ", h.id) < (a.value, $1) AND h." + column + " >= a.value"}, q.heldConditions(f, "h.", along)...)
	return `SELECT o.id FROM unnest(` + values + `) AS a(value) CROSS JOIN LATERAL (SELECT h.id FROM outbox.message_held h WHERE ` + strings.Join(conditions, " AND ") +
		` ORDER BY h.` + column + ` DESC, h.id DESC LIMIT @most) o ORDER BY o.id DESC LIMIT @most`
}

// heldAlong is the term whose index serves a search in message_held: the first failure, else the first state; -1 = there is none.
func heldAlong(f relay.Filter) int {
	if i := slices.IndexFunc(f.Terms, func(t relay.Term) bool { return t.Name == "failure" }); i >= 0 {
		return i
	}
	return slices.IndexFunc(f.Terms, func(t relay.Term) bool { return t.Name == "state" && !t.Not })
}

func distinct[T int64 | string](values []T) []T {
	return slices.Compact(slices.Sorted(slices.Values(values)))
}

func (q *listQuery) heldState(t relay.Term, prefix string) string {
	var states []string
	pending := false
	for _, s := range t.Values {
		if isHeldState(s) {
			states = append(states, s)
		}
		pending = pending || s == relay.StatePending
	}
	cond := prefix + "state = ANY (" + q.arg(states) + "::text[])"
	if pending {
		cond = "(" + cond + " OR " + prefix + "state <> 'dead')"
	}
	return negate(cond, t.Not)
}

// matches gives the ids of c that match, newest first.
func (q *listQuery) matches() string {
	text := `SELECT c.id FROM c`
	if len(q.early) > 0 {
		text += ` WHERE ` + strings.Join(q.early, " AND ")
	}
	if len(q.wheres) > 0 {
		text = `SELECT c.id FROM (` + strings.Replace(text, "c.id", "c.*", 1) + ` ORDER BY c.id DESC OFFSET 0) c CROSS JOIN LATERAL (` + q.status + `) s WHERE ` + strings.Join(q.wheres, " AND ")
	}
	return text + ` ORDER BY c.id DESC`
}

// bounded is the source with its limit. The limit stands in the text: a plan that knows it walks an index and stops.
func (q *listQuery) bounded(most int) string {
	return strings.ReplaceAll(q.source, "@most", strconv.Itoa(most))
}

// statement returns the text. Its rows begin with how far the search went: lowest id and number of ids seen, 0 when the page is full.
func (q *listQuery) statement(limit int) string {
	looked, most := searchRows, strconv.Itoa(limit+1)
	if q.whole {
		looked = limit + 1
	}
	walk, source, lowest, seen := ``, q.bounded(looked), `coalesce(min(c.id), 0)`, `count(*)`
	if q.near != "" {
		walk, source, lowest, seen = q.nearest(looked)
	}
	return `WITH ` + walk + `c AS MATERIALIZED (` + source + `), f AS MATERIALIZED (` + q.matches() + ` LIMIT ` + most + `)
SELECT b.lo, b.n, r.* FROM (SELECT ` + lowest + ` AS lo, ` + seen + ` AS n FROM c WHERE (SELECT count(*) FROM f) < ` + most + `) b LEFT JOIN (
  SELECT o.* FROM f CROSS JOIN LATERAL (SELECT ` + rowColumns + `, left(coalesce(s.error, ''), ` + strconv.Itoa(errorPreview) + `)
    FROM outbox.message_status s WHERE s.id = f.id OFFSET 0) o) r ON true ORDER BY r.id DESC`
}
