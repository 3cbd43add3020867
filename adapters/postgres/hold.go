package postgres

import (
	"strings"

	"github.com/waybillmq/waybill/relay"
)

// $1 epoch; $2 to $12 one element for each message: id, state, delay in seconds (null = no turn), attempts, destination, outcome, class, error_code, error,
// fingerprint, passed; $13,$14 topic[], key[] to release (of such a key $2 has only what is blocked anew); $15 their fronts, 0 = none; $16 a repeat, as in settle. ok = 0: fenced or reborn; more =
// positions of the keys that still have unpassed rows.
const sqlSettleHeld = `WITH f AS MATERIALIZED (SELECT 1 FROM outbox.owner o WHERE o.epoch = $1 AND EXISTS (SELECT FROM outbox.alive a WHERE a.epoch = $1) FOR UPDATE OF o),
u AS MATERIALIZED (
  SELECT u.* FROM unnest($2::bigint[], $3::text[], $4::float8[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[],
      $12::bool[])
    AS u(id, state, delay, attempts, destination, outcome, class, error_code, error, fingerprint, passed)
  WHERE EXISTS (SELECT FROM f)
    AND (EXISTS (SELECT FROM outbox.message_pending p WHERE p.id = u.id OFFSET 0) -- or the planner may hash the whole table
      OR EXISTS (SELECT FROM outbox.message_held h WHERE h.id = u.id AND (h.sending OR NOT $16::boolean) OFFSET 0))),
d AS (DELETE FROM outbox.message_pending WHERE id IN (SELECT id FROM u)),
w AS (INSERT INTO outbox.message_held AS h (id, state, topic, key, destination, due_at, attempts, outcome, class, error_code, error, fingerprint, passed,
    first_failed_at)
  SELECT u.id, u.state, m.topic, m.key, coalesce(u.destination, ''),
         CASE u.state WHEN 'scheduled' THEN coalesce(greatest(m.deliver_after, now() + u.delay * interval '1 s'), now()) ELSE now() + u.delay * interval '1 s' END,
         u.attempts, u.outcome, u.class, u.error_code, left(u.error, 2000), u.fingerprint, u.passed, CASE WHEN u.outcome IS NOT NULL THEN now() END
  FROM u JOIN outbox.message_log m ON m.id = u.id
  ON CONFLICT (id) DO UPDATE SET state = excluded.state, destination = excluded.destination, due_at = excluded.due_at, sending = false,
    attempts = excluded.attempts, outcome = excluded.outcome, class = excluded.class, error_code = excluded.error_code, error = excluded.error,
    fingerprint = excluded.fingerprint, passed = h.passed OR excluded.passed, first_failed_at = coalesce(h.first_failed_at, excluded.first_failed_at),
    changed_at = now()),
x AS (UPDATE outbox.message_held h SET due_at = NULL, changed_at = now() -- a head went back: what was released behind it waits again; take sees to the rest
  WHERE h.id = ANY (ARRAY( -- not a join: planned while nothing is held, it would look for each blocked row behind each head
      SELECT w.id FROM (SELECT m.topic, m.key, min(u.id) AS id FROM u JOIN outbox.message_log m ON m.id = u.id
          WHERE u.state IN ('retrying', 'dead') AND NOT u.passed AND m.key IS NOT NULL GROUP BY 1, 2) k
      CROSS JOIN LATERAL (SELECT b.id, b.due_at, b.sending FROM outbox.message_held b WHERE b.topic = k.topic AND b.key = k.key AND b.id > k.id AND b.key IS NOT NULL
          AND b.state <> 'scheduled' AND NOT b.passed ORDER BY b.topic, b.key, b.id LIMIT 1000) w
      WHERE w.due_at IS NOT NULL AND NOT w.sending AND w.id NOT IN (SELECT id FROM u)))
    AND (h.state = 'blocked') IS TRUE), -- by id, never through the index of states
k AS MATERIALIZED ( -- the search behind the front finds nothing at the end of a release: then once more from the beginning
  SELECT a.topic, a.key, a.i, CASE WHEN a.front > 0 AND EXISTS (SELECT FROM outbox.message_held h WHERE h.topic = a.topic AND h.key = a.key AND h.id > a.front
      AND h.key IS NOT NULL AND h.state <> 'scheduled' AND NOT h.passed OFFSET 0) THEN a.front ELSE 0 END AS front
  FROM unnest($13::text[], $14::text[], $15::bigint[]) WITH ORDINALITY AS a(topic, key, front, i)),
n AS MATERIALIZED (SELECT b.*, k.i FROM k
  CROSS JOIN LATERAL (SELECT h.id, h.due_at, bool_and(h.state = 'blocked') OVER (ORDER BY h.id) AS go FROM ( -- up to the first dead or retrying one
      SELECT h.id, h.due_at, h.state FROM outbox.message_held h WHERE h.topic = k.topic AND h.key = k.key AND h.id > k.front AND h.key IS NOT NULL
        AND h.state <> 'scheduled' AND NOT h.passed AND h.id NOT IN (SELECT id FROM u) ORDER BY h.topic, h.key, h.id LIMIT 500) h) b),
r AS (UPDATE outbox.message_held h SET due_at = now(), changed_at = now() FROM n WHERE h.id = n.id AND n.go AND n.due_at IS NULL AND EXISTS (SELECT FROM f))
SELECT (SELECT count(*) FROM f) AS ok, ARRAY(SELECT DISTINCT i FROM n ORDER BY i) AS more`

// Failed tries, for people. The first 5 and the newest 45 of a message stay. In the transaction of a settle that holds the owner row.
const sqlAttempts = `INSERT INTO outbox.attempt (id, n, epoch, instance, lane, outcome, class, error_code, error, took)
SELECT u.id, u.n, $1, u.instance, u.lane, u.outcome, u.class, u.error_code, left(u.error, 4096), u.took * interval '1 microsecond'
FROM unnest($2::bigint[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[])
  AS u(id, n, instance, lane, outcome, class, error_code, error, took)
WHERE EXISTS (SELECT FROM outbox.owner o WHERE o.epoch = $1 AND EXISTS (SELECT FROM outbox.alive a WHERE a.epoch = $1))
ON CONFLICT DO NOTHING`

const sqlTrimAttempts = `DELETE FROM outbox.attempt t USING (SELECT u.id, (SELECT max(x.n) FROM outbox.attempt x WHERE x.id = u.id) AS n FROM unnest($2::bigint[]) AS u(id)) newest
WHERE t.id = newest.id AND t.n > 5 AND t.n <= newest.n - 45 AND EXISTS (SELECT FROM outbox.owner o WHERE o.epoch = $1)`

// heldArgs are $1 to $16 of sqlSettleHeld.
func heldArgs(epoch relay.Epoch, t relay.Settlement, f fronts) []any {
	n := len(t.Hold)
	ids, states, delays, attempts := make([]int64, n), make([]string, n), make([]*float64, n), make([]int32, n)
	destinations, fingerprints, passed := make([]string, n), make([]*int64, n), make([]bool, n)
	outcomes, classes, codes, texts := make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n)
	for i := range t.Hold {
		h := &t.Hold[i]
		ids[i], states[i], attempts[i], destinations[i], passed[i] = int64(h.ID), string(h.State), int32(h.Attempts), h.Destination, h.Passed
		if h.Due {
			seconds := max(h.Delay, 0).Seconds()
			delays[i] = &seconds
		}
		if h.Fingerprint != 0 {
			fingerprints[i] = &h.Fingerprint
		}
		if f := h.Failure; f != nil {
			outcomes[i], classes[i], codes[i], texts[i] = given(f.Outcome.String()), given(f.Class), given(f.Code), given(clean(f.Text))
		}
	}
	topics, keys := make([]string, len(t.Release)), make([]string, len(t.Release))
	for i, k := range t.Release {
		topics[i], keys[i] = k.Topic, k.Key
	}
	return []any{int64(epoch), ids, states, delays, attempts, destinations, outcomes, classes, codes, texts, fingerprints, passed, topics, keys, f.of(t.Release), false}
}

// attemptArgs are $1 to $10 of sqlAttempts.
func attemptArgs(epoch relay.Epoch, attempts []relay.Attempt) []any {
	n := len(attempts)
	ids, ns, took := make([]int64, n), make([]int32, n), make([]int64, n)
	instances, lanes, outcomes := make([]string, n), make([]string, n), make([]string, n)
	classes, codes, texts := make([]*string, n), make([]*string, n), make([]*string, n)
	for i, a := range attempts {
		ids[i], ns[i], took[i] = int64(a.ID), int32(a.N), a.Took.Microseconds()
		instances[i], lanes[i], outcomes[i] = a.Instance, a.Lane, a.Failure.Outcome.String()
		classes[i], codes[i], texts[i] = given(a.Failure.Class), given(a.Failure.Code), given(clean(a.Failure.Text))
	}
	return []any{int64(epoch), ids, ns, instances, lanes, outcomes, classes, codes, texts, took}
}

func attemptIDs(attempts []relay.Attempt) []int64 {
	seen, ids := map[relay.ID]bool{}, []int64{}
	for _, a := range attempts {
		if !seen[a.ID] {
			seen[a.ID] = true
			ids = append(ids, int64(a.ID))
		}
	}
	return ids
}

// given is null for an empty string.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// clean makes a broker's text storable: PostgreSQL takes neither NUL nor broken UTF-8.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
