package postgres

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// Whatever is asked, a search finds what a plain reading of the view finds, in the same order, in pages that leave nothing out.
func TestSearchFindsWhatThereIs(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			d := newDesk(t, major)
			all := d.plain(t, r)
			filters := []string{"", "-state:scheduled", "state:scheduled,sent", "state:discarded,dead class:invalid,timeout", "-class:invalid -destination:kafka-a", "state:pending key:k1",
				"state:discarded -topic:clicks", "state:dead,dead", "topic:clicks key:k1 state:dead,retrying,blocked", "topic:clicks key:k1 state:scheduled", "failure:0000000000000007,fffffffffffffffb age>40h"}
			for range 120 {
				filters = append(filters, randomFilter(r, all))
			}
			for range 30 {
				filters = append(filters, "topic:order.paid"+one(r, "", ",clicks", ",order_*")+" key:"+one(r, "k1", "k0,k3", "k2,k2,other")+" "+randomFilter(r, all))
			}
			for _, text := range filters {
				f, err := relay.ParseFilter(text)
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				d.inspector.bounds = one(r, usualBounds, heldBounds{near: 700, key: 90}) // a key of all holds some 160
				d.compare(t, r, all, text, f)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// plainRow is a message and what a filter may ask about it that no list shows.
type plainRow struct {
	relay.MessageRow
	fingerprint relay.FailureID
	held        bool
}

// plain writes messages of all states, with holes between them, and reads them back, newest first.
func (d *desk) plain(t *testing.T, r *rand.Rand) []plainRow {
	t.Helper()
	d.exec(t, fmt.Sprintf("SELECT setseed(%g)", r.Float64()))
	d.exec(t, `SET session_replication_role = replica`)
	d.exec(t, `INSERT INTO outbox.message_log (id, created_at, deliver_after, topic, key, message_id, payload)
  SELECT i, now() - (i % 97) * interval '1 h', CASE WHEN random() < 0.1 THEN now() + interval '1 d' WHEN random() < 0.1 THEN now() - interval '1 d' END,
    (ARRAY['order.paid', 'order_paid', 'clicks'])[1 + floor(random() * 3)], CASE WHEN random() < 0.7 THEN 'k' || floor(random() * 4) END,
    CASE WHEN random() < 0.05 THEN 'own-' || i END, 'x' FROM generate_series(1, 25000) AS i WHERE random() < 0.9`)
	d.exec(t, `INSERT INTO outbox.message_ids SELECT message_id, id FROM outbox.message_log WHERE message_id IS NOT NULL`)
	d.exec(t, `CREATE TEMPORARY TABLE drawn AS SELECT m.*, random() * 10 AS x FROM outbox.message_log m WHERE m.id > 3000 AND random() < 0.3`)
	d.exec(t, `INSERT INTO outbox.message_pending SELECT id FROM drawn WHERE x < 4`)
	d.exec(t, `INSERT INTO outbox.message_discarded (id, activity_id, attempts, outcome, class, error) SELECT id, 1, 2, 'rejected', 'invalid', 'bad' FROM drawn WHERE x BETWEEN 4 AND 6`)
	d.exec(t, `INSERT INTO outbox.message_held (id, state, topic, key, destination, passed, due_at, class, fingerprint, error)
  SELECT id, s.state, topic, key, (ARRAY['', 'kafka-a', 'kafka-b'])[1 + floor(random() * 3)], s.state = 'retrying' OR random() < 0.3, CASE WHEN s.state <> 'dead' THEN now() END,
    (ARRAY['too_large', 'timeout', NULL])[1 + floor(random() * 3)], (ARRAY[-5, 7, NULL])[1 + floor(random() * 3)], repeat('long ', 100)
  FROM drawn, LATERAL (SELECT (ARRAY['retrying', 'blocked', 'scheduled', 'dead'])[1 + floor(x * 1000)::int % 4] AS state) s WHERE x > 6`)
	rows, err := d.conn.Query(t.Context(), `SELECT `+rowColumns+`, left(coalesce(s.error, ''), 200), coalesce(h.fingerprint, 0), h.id IS NOT NULL
  FROM outbox.message_status s LEFT JOIN outbox.message_held h ON h.id = s.id ORDER BY s.id DESC`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(c pgx.CollectableRow) (p plainRow, err error) {
		return p, c.Scan(append(rowTargets(&p.MessageRow), &p.fingerprint, &p.held)...)
	})
	if err != nil || len(all) < 20_000 {
		t.Fatalf("%d messages, %v", len(all), err)
	}
	return all
}

func one[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// randomFilter draws terms. Ages lie between the hours in which messages were written.
func randomFilter(r *rand.Rand, all []plainRow) string {
	one := func(values ...string) string { return one(r, values...) }
	some := func(values ...string) string { return one(values...) + one("", "", ","+one(values...)) }
	ref := func() string {
		m := all[r.IntN(len(all))]
		return one(m.ID.String(), m.MessageID, "99999999")
	}
	var terms []string
	for range r.IntN(4) {
		not := one("", "", "-")
		hours := fmt.Sprint(r.IntN(100)*60+30, "m")
		terms = append(terms, one(
			not+"state:"+some("pending", "sent", "dead", "discarded", "retrying", "blocked", "scheduled"), not+"topic:"+some("order.paid", "order_*", "*", "nothing"),
			not+"key:"+some("k0", "k1", "k3", "other"), not+"destination:"+some("kafka-a", "kafka-b"), not+"class:"+some("too_large", "invalid"),
			"failure:"+some("0000000000000007", "fffffffffffffffb", "0000000000000008"), not+"id:"+some(ref(), ref()),
			not+"age"+one("<", ">")+hours, not+"since:"+hours, not+"until:"+one(hours, "2020-01-01")))
	}
	if i := slices.IndexFunc(terms, func(s string) bool { return strings.HasPrefix(s, "id:") }); i >= 0 { // only the first one is looked at
		terms = slices.DeleteFunc(terms, func(s string) bool { return strings.HasPrefix(s, "id:") && s != terms[i] })
	}
	return strings.Join(terms, " ")
}

// compare walks the pages of a search from somewhere on.
func (d *desk) compare(t *testing.T, r *rand.Rand, all []plainRow, text string, f relay.Filter) {
	t.Helper()
	before := all[r.IntN(len(all))].ID
	if r.IntN(2) == 0 {
		before = all[0].ID + 1
	}
	limit := 1 + r.IntN(relay.MaxPage)
	var want []relay.MessageRow
	for _, m := range all {
		if m.ID < before && m.matches(f) {
			want = append(want, m.MessageRow)
		}
	}
	for range 10 {
		page, err := d.inspector.Messages(t.Context(), f, before, limit)
		if err != nil {
			t.Fatalf("%q below %d: %v", text, before, err)
		}
		n := min(len(page.Items), len(want))
		if !slices.Equal(page.Items, want[:n]) || len(page.Items) > limit {
			t.Fatalf("%q below %d, limit %d: other rows than the %d expected: %d", text, before, limit, len(want), len(page.Items))
		}
		switch {
		case page.Searched > 0 && (page.Searched != searchRows && page.Searched != d.inspector.bounds.near || len(page.Items) == limit && page.Next == page.Items[limit-1].ID):
			t.Errorf("%q below %d, limit %d: searched %d, next %d", text, before, limit, page.Searched, page.Next)
		case page.Next == 0 && n != len(want):
			t.Errorf("%q below %d, limit %d: the list ends %d messages early", text, before, limit, len(want)-n)
		case page.Next != 0 && n < len(want) && want[n].ID >= page.Next:
			t.Errorf("%q below %d, limit %d: message %d lies between two pages", text, before, limit, want[n].ID)
		}
		if want, before = want[n:], page.Next; before == 0 || t.Failed() {
			return
		}
	}
}

// matches says plainly what a filter means. Who asks for states of held messages, or for a class and no state, means what is held.
func (m *plainRow) matches(f relay.Filter) bool {
	first := func(name string) int {
		return slices.IndexFunc(f.Terms, func(t relay.Term) bool { return t.Name == name && !t.Not })
	}
	state, held := first("state"), first("class") >= 0
	if state >= 0 {
		held = !slices.ContainsFunc(f.Terms[state].Values, func(v string) bool { return !isHeldState(v) })
	}
	if held && !m.held {
		return false
	}
	return !slices.ContainsFunc(f.Terms, func(t relay.Term) bool { return m.holds(t) == t.Not })
}

func (m *plainRow) holds(t relay.Term) bool {
	is := func(v string) bool { return slices.Contains(t.Values, v) }
	age := time.Since(m.CreatedAt)
	switch t.Name {
	case "state":
		return is(m.State) || is(m.Detail)
	case "topic":
		return slices.ContainsFunc(t.Values, func(v string) bool {
			return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(v), `\*`, ".*") + "$").MatchString(m.Topic)
		})
	case "key":
		return is(m.Key)
	case "destination":
		return is(m.Destination)
	case "class":
		return is(m.Class)
	case "failure":
		return m.held && is(m.fingerprint.String())
	case "id":
		return is(strconv.FormatInt(int64(m.ID), 10)) || is(m.MessageID)
	case "age":
		return age > t.Age == (t.Op == '>')
	case "since":
		return !m.CreatedAt.Before(t.At) && (!t.At.IsZero() || age < t.Age)
	case "until":
		return m.CreatedAt.Before(t.At) || t.At.IsZero() && age > t.Age
	}
	panic("unknown term " + t.Name)
}
