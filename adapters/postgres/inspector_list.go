package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/waybillmq/waybill/relay"
)

// searchRows bounds a search that no index serves: so many ids are looked at for one page, and the answer says so.
const searchRows = 10_000

// errorPreview is how much of an error a list shows.
const errorPreview = 200

// listQuery builds the statement of one page. Values never enter the text, only args do.
type listQuery struct {
	args   []any
	source string   // what comes into question, newest first, below $1, at most @most
	early  []string // conditions on what source has of the log, as c
	wheres []string // conditions on the state, as s
	status string   // where s comes from
	whole  bool     // source gives nothing but what matches
	near   string   // no index serves source, which are the held messages that this holds for: a page looks at the newest of them
	bounds heldBounds
}

func (q *listQuery) arg(v any) string {
	q.args = append(q.args, v)
	return fmt.Sprintf("$%d", len(q.args))
}

const (
	sourcePending   = `SELECT u.id FROM ((SELECT p.id FROM outbox.message_pending p WHERE p.id < $1 ORDER BY p.id DESC LIMIT @most) UNION ALL (SELECT h.id FROM outbox.message_held h WHERE h.id < $1 AND h.state <> 'dead' ORDER BY h.id DESC LIMIT @most)) u ORDER BY u.id DESC LIMIT @most`
	sourceDiscarded = `SELECT d.id FROM outbox.message_discarded d WHERE d.id < $1 ORDER BY d.id DESC LIMIT @most`
)

// newListQuery chooses where the ids come from. ids are those of an id: term, already resolved.
func newListQuery(f relay.Filter, before relay.ID, ids []int64, bounds heldBounds) *listQuery {
	q := &listQuery{args: []any{before}, status: statusView, bounds: bounds}
	states, held, failure := wantedStates(f)
	switch {
	case ids != nil && !failure:
		q.source = `SELECT i.id FROM unnest(` + q.arg(distinct(ids)) + `::bigint[]) AS i(id) WHERE i.id < $1 ORDER BY i.id DESC LIMIT @most`
	case held:
		q.fromHeld(f)
		return q
	case len(states) == 1 && states[0] == relay.StatePending:
		q.source = sourcePending
	case len(states) == 1 && states[0] == relay.StateDiscarded:
		q.source = sourceDiscarded
	default:
		q.fromLog(f)
		return q
	}
	q.whole = len(f.Terms) == 0 || len(f.Terms) == 1 && ids == nil && !f.Terms[0].Not
	for _, t := range f.Terms {
		if t.Name != "id" || t.Not {
			q.wheres = append(q.wheres, q.where(t, "s."))
		}
	}
	return q
}

// wantedStates returns the states of the first positive state term; held says that message_held alone can answer: destination and class belong to held
// messages too (those of a sent one lie in its receipt), and a failure group to nothing else.
func wantedStates(f relay.Filter) (states []string, held, failure bool) {
	for _, t := range f.Terms {
		if t.Name == "state" && !t.Not && states == nil {
			states, held = t.Values, true
			for _, s := range t.Values {
				held = held && isHeldState(s)
			}
		}
	}
	for _, t := range f.Terms {
		held = held || states == nil && !t.Not && (t.Name == "destination" || t.Name == "class")
		failure = failure || t.Name == "failure"
	}
	return states, held || failure, failure
}

// where is one term as a condition.
func (q *listQuery) where(t relay.Term, prefix string) string {
	switch t.Name {
	case "state":
		a := q.arg(t.Values)
		return negate("("+prefix+"state = ANY ("+a+"::text[]) OR "+prefix+"detail = ANY ("+a+"::text[]))", t.Not)
	case "topic":
		return negate("("+prefix+"topic LIKE ANY ("+q.arg(likePatterns(t.Values))+"::text[]))", t.Not)
	case "failure":
		return "(" + prefix + "fingerprint = ANY (" + q.arg(failureIDs(t.Values)) + "::bigint[]))"
	case "id":
		return negate(prefix+"id::text = ANY ("+q.arg(t.Values)+"::text[]) OR "+prefix+"message_id = ANY ("+q.arg(t.Values)+"::text[])", t.Not)
	case "age":
		op := "<"
		if t.Op == '<' {
			op = ">"
		}
		return negate(prefix+"created_at "+op+" clock_timestamp() - "+q.arg(t.Age.Microseconds())+"::bigint * interval '1 microsecond'", t.Not)
	case "since", "until":
		op := ">="
		if t.Name == "until" {
			op = "<"
		}
		if t.At.IsZero() {
			return negate(prefix+"created_at "+op+" clock_timestamp() - "+q.arg(t.Age.Microseconds())+"::bigint * interval '1 microsecond'", t.Not)
		}
		return negate(prefix+"created_at "+op+" "+q.arg(t.At)+"::timestamptz", t.Not)
	}
	return negate(prefix+t.Name+" = ANY ("+q.arg(t.Values)+"::text[])", t.Not) // key, destination, class: the parser knows no other
}

// failureIDs reads what the parser has checked.
func failureIDs(values []string) []int64 {
	ids := make([]int64, 0, len(values))
	for _, v := range values {
		if id, err := relay.ParseFailureID(v); err == nil {
			ids = append(ids, int64(id))
		}
	}
	return ids
}

// negate counts null as "does not hold".
func negate(cond string, not bool) string {
	if not {
		return "NOT coalesce((" + cond + "), false)"
	}
	return "(" + cond + ")"
}

// likePatterns turns * into the pattern language of LIKE.
func likePatterns(globs []string) []string {
	out := make([]string, len(globs))
	for i, g := range globs {
		out[i] = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(g)
	}
	return out
}

// Messages implements relay.Inspector.
func (i *Inspector) Messages(ctx context.Context, f relay.Filter, before relay.ID, limit int) (relay.MessageList, error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	ids, err := i.resolve(ctx, f)
	if err != nil {
		return relay.MessageList{}, err
	}
	limit = pageSize(limit)
	q := newListQuery(f, before, ids, i.bounds)
	text := q.statement(limit)
	rows, err := i.db.Query(ctx, i.sql(text), q.args...)
	if err != nil {
		return relay.MessageList{}, i.failed("messages", err)
	}
	defer rows.Close()
	var list relay.MessageList
	var lowest relay.ID
	var seen int
	for rows.Next() {
		var m relay.MessageRow
		var id *relay.ID
		targets := rowTargets(&m)
		if values := rows.RawValues(); values[2] == nil { // nothing matched
			err = rows.Scan(append([]any{&lowest, &seen, &id}, make([]any, len(targets)-1)...)...)
		} else if err = rows.Scan(append([]any{&lowest, &seen}, targets...)...); err == nil {
			list.Items = append(list.Items, m)
		}
		if err != nil {
			return relay.MessageList{}, i.failed("messages", err)
		}
	}
	if err := rows.Err(); err != nil {
		return relay.MessageList{}, i.failed("messages", err)
	}
	switch {
	case len(list.Items) > limit:
		list.Items = list.Items[:limit]
		list.Next = list.Items[limit-1].ID
	case !q.whole && seen == searchRows || q.near != "" && seen == i.bounds.near:
		list.Next, list.Searched = lowest, seen
	}
	return list, nil
}

// resolve turns the values of the first id: term into ids; nil = there is none.
func (i *Inspector) resolve(ctx context.Context, f relay.Filter) ([]int64, error) {
	for _, t := range f.Terms {
		if t.Name != "id" || t.Not {
			continue
		}
		ids := []int64{}
		for _, ref := range t.Values {
			id, err := i.Find(ctx, ref)
			if errors.Is(err, relay.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			ids = append(ids, int64(id))
		}
		return ids, nil
	}
	return nil, nil
}
