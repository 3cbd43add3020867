package postgres

import (
	"slices"
	"strconv"
	"strings"

	"github.com/waybillmq/waybill/relay"
)

// maxKeyWalks bounds how many keys a search walks one by one.
const maxKeyWalks = 200

// nearSteps is in how many steps the newest held messages are looked at.
const nearSteps = 50

// heldBounds bound a search in message_held. Both are numbers of rows.
type heldBounds struct {
	near int // a multiple of nearSteps: so many of the newest ones are looked at for one page where no index serves, and the answer says so
	key  int // so much a key may hold so that all of it is read for some states or failures of it
}

var usualBounds = heldBounds{near: 50_000, key: 10_000}

// The two indexes of message_held by key: each row with a key is in one of them. What a key waits for is in the first.
const (
	inKeyIndex   = `h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed`
	inAsideIndex = `h.key IS NOT NULL AND (h.state = 'scheduled' OR h.passed)`
)

// heldKeys are the places of a topic term and a key term that name exactly what is meant; nil = there are none, or too many.
func heldKeys(f relay.Filter) []int {
	exact := func(name string) int {
		return slices.IndexFunc(f.Terms, func(t relay.Term) bool {
			return t.Name == name && !t.Not && (name == "key" || !slices.ContainsFunc(t.Values, func(v string) bool { return strings.Contains(v, "*") }))
		})
	}
	topic, key := exact("topic"), exact("key")
	if topic < 0 || key < 0 || len(f.Terms[topic].Values)*len(f.Terms[key].Values) > maxKeyWalks {
		return nil
	}
	return []int{topic, key}
}

// ofEachKey says that a term asks for all states that a key waits for.
func ofEachKey(t relay.Term) bool {
	has := func(s relay.HeldState) bool { return slices.Contains(t.Values, string(s)) }
	return t.Name == "state" && has(relay.Dead) && has(relay.Retrying) && has(relay.Blocked)
}

// pairs are the keys of a filter, one row each, as e.
func (q *listQuery) pairs(f relay.Filter, keys []int) string {
	return `(SELECT t.topic COLLATE "C" AS topic, k.key COLLATE "C" AS key FROM unnest(` + q.arg(distinct(f.Terms[keys[0]].Values)) + `::text[]) AS t(topic), unnest(` +
		q.arg(distinct(f.Terms[keys[1]].Values)) + `::text[]) AS k(key)) e`
}

// walkKey walks one index of a key e from $1 down; not by key = e.key, for the reason that alongIndex has. What else is asked of a row is asked behind the walk, as w: the planner would take an index on that instead.
func walkKey(index string, conditions []string, most string) string {
	walk := `SELECT h.* FROM outbox.message_held h WHERE h.topic = e.topic AND (h.key, h.id) < (e.key, $1) AND h.key >= e.key AND ` + index +
		` ORDER BY h.topic DESC, h.key DESC, h.id DESC `
	if len(conditions) == 0 {
		return `(` + strings.Replace(walk, "h.*", "h.id", 1) + `LIMIT ` + most + `)`
	}
	return `(SELECT w.id FROM (` + walk + `OFFSET 0) w WHERE ` + strings.Join(conditions, " AND ") + ` LIMIT ` + most + `)`
}

// alongKeys walks keys, whatever else they hold.
func (q *listQuery) alongKeys(f relay.Filter, keys []int) string {
	aside := inAsideIndex
	if along := heldAlong(f); along >= 0 && ofEachKey(f.Terms[along]) { // all of the first index, so nothing is left to be asked behind the walk
		if !slices.Contains(f.Terms[along].Values, string(relay.Scheduled)) {
			aside += ` AND h.state <> 'scheduled'`
		}
		keys = append(slices.Clip(keys), along)
	}
	conditions := q.heldConditions(f, "w.", keys...)
	return `SELECT o.id FROM ` + q.pairs(f, keys) + ` CROSS JOIN LATERAL (` + walkKey(inKeyIndex, conditions, "@most") + ` UNION ALL ` + walkKey(aside, conditions, "@most") +
		`) o ORDER BY o.id DESC LIMIT @most`
}

// alongFewKeys walks keys that hold little. Of one that holds much, what is asked for may be a small part: then the index of that is walked.
func (q *listQuery) alongFewKeys(f relay.Filter, keys []int, along int) string {
	most := strconv.Itoa(q.bounds.key + 1)
	return `WITH few AS MATERIALIZED (SELECT count(*) <= ` + strconv.Itoa(q.bounds.key) + ` AS yes FROM (SELECT FROM ` + q.pairs(f, keys) + ` CROSS JOIN LATERAL (` +
		walkKey(inKeyIndex, nil, most) + ` UNION ALL ` + walkKey(inAsideIndex, nil, most) + `) o LIMIT ` + most + `) x)
SELECT u.id FROM (SELECT y.id FROM (` + q.alongKeys(f, keys) + `) y WHERE (SELECT yes FROM few) UNION ALL SELECT n.id FROM (` + q.alongIndex(f, along) +
		`) n WHERE NOT (SELECT yes FROM few)) u ORDER BY u.id DESC LIMIT @most`
}

// nearest looks at the newest held messages in steps, until so many match. A step's limit is small, which keeps the planner on the index whatever it knows. The search went
// to the last match when there are as many as may be looked at further, else to the end of its steps.
func (q *listQuery) nearest(looked int) (walk, source, lowest, seen string) {
	near, most := strconv.Itoa(q.bounds.near), strconv.Itoa(looked)
	walk = `RECURSIVE k AS (SELECT $1::bigint AS low, 0::bigint AS n, 0::bigint AS found, NULL::bigint[] AS ids UNION ALL
  SELECT s.low, k.n + s.n, k.found + s.found, s.ids FROM k CROSS JOIN LATERAL (
    SELECT min(x.id) AS low, count(*) AS n, count(*) FILTER (WHERE x.hit) AS found, array_agg(x.id) FILTER (WHERE x.hit) AS ids FROM (
      SELECT h.id, (` + q.near + `) AS hit FROM outbox.message_held h WHERE h.id < k.low ORDER BY h.id DESC LIMIT ` + strconv.Itoa(q.bounds.near/nearSteps) + `) x) s
  WHERE k.n < ` + near + ` AND k.found < ` + most + ` AND s.n > 0), `
	source = `SELECT u.id FROM k CROSS JOIN LATERAL unnest(k.ids) AS u(id) ORDER BY u.id DESC LIMIT ` + most
	step := `CASE WHEN count(*) = ` + most + ` THEN `
	return walk, source, step + `min(c.id) ELSE (SELECT CASE WHEN max(k.n) = ` + near + ` THEN min(k.low) ELSE 0 END FROM k) END`, step + `count(*) ELSE (SELECT max(k.n) FROM k) END`
}
