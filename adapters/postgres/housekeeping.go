package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// Every method of this file is one round of housekeeping, safe to call again and again, on a connection of its own with a lock limit of 200 ms: business code
// queues behind our lock requests. A lock that cannot be had is an error that the next round mends.

// purgeChunk bounds one DELETE of housekeeping.
const purgeChunk = 5000

// AddPartitions makes partitions ahead, for a retention, and returns how many whole ones lie above the highest id then. Fewer than 1 is an alarm: an open
// transaction that has read the log, such as a dump, is in the way.
func (s *Store) AddPartitions(ctx context.Context, retention time.Duration) (ahead int, err error) {
	err = s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		f, err := s.idFacts(ctx, c)
		if err != nil {
			return err
		}
		for _, p := range f.existing {
			if p.Lo > f.last {
				ahead++
			}
		}
		for _, p := range planPartitions(f, retention) {
			if _, err := c.Exec(ctx, s.sql(`SELECT outbox.add_partition($1, $2)`), int64(p.Lo), int64(p.Hi)); err != nil {
				return err
			}
			ahead++
		}
		return nil
	})
	return ahead, explain("add partitions", err)
}

func (s *Store) idFacts(ctx context.Context, c *pgx.Conn) (f idFacts, err error) {
	err = c.QueryRow(ctx, s.sql(`SELECT s.last_value, coalesce((SELECT hi FROM outbox.rest_range()), 0) FROM outbox.message_id_seq s`)).Scan((*int64)(&f.last), (*int64)(&f.rest))
	if err != nil {
		return f, err
	}
	if f.existing, err = s.ranges(ctx, c); err != nil {
		return f, err
	}
	above := f.last
	for hour := 1; hour <= 24; hour++ {
		from, err := s.idBefore(ctx, c, time.Duration(hour)*time.Hour, above)
		if err != nil {
			return f, err
		}
		f.hours = append(f.hours, int64(above-from))
		if above = from; from == 0 {
			break
		}
	}
	return f, nil
}

func (s *Store) ranges(ctx context.Context, c *pgx.Conn) ([]idRange, error) {
	rows, err := c.Query(ctx, s.sql(`SELECT lo, hi FROM outbox.partitions ORDER BY lo`))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (p idRange, err error) { return p, r.Scan((*int64)(&p.Lo), (*int64)(&p.Hi)) })
}

// idBefore returns the highest id that is older than age, at most `most`; 0 = none. created_at rises with the id, nearly, so a binary search over the
// primary key finds it.
func (s *Store) idBefore(ctx context.Context, c *pgx.Conn, age time.Duration, most relay.ID) (relay.ID, error) {
	return idBefore(ctx, c, s.sql, age, most)
}

func idBefore(ctx context.Context, c interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, schema func(string) string, age time.Duration, most relay.ID) (relay.ID, error) {
	lo, hi := relay.ID(0), most // lo is older or 0, everything above hi is younger
	for lo < hi {
		middle := lo + (hi-lo+1)/2
		var id relay.ID
		var old bool
		err := c.QueryRow(ctx, schema(`SELECT id, created_at < clock_timestamp() - $2::bigint * interval '1 microsecond' FROM outbox.message_log
			WHERE id >= $1 AND id <= $3 ORDER BY id LIMIT 1`), int64(middle), age.Microseconds(), int64(hi)).Scan((*int64)(&id), &old)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			hi = middle - 1
		case err != nil:
			return 0, err
		case old:
			lo = id
		default:
			hi = middle - 1
		}
	}
	return lo, nil
}

// Retain drops each partition whose messages are all settled and whose newest one is older than keep, shrinks those that held messages pin for twice as
// long, empties the default partition of what is as old, and forgets what belonged to dropped messages. It returns the names of the partitions dropped.
func (s *Store) Retain(ctx context.Context, keep time.Duration) (dropped []string, err error) {
	err = s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		var problems []error
		names, err := s.settledPartitions(ctx, c)
		if err != nil {
			return err
		}
		for _, name := range names {
			gone, err := s.dropOrShrink(ctx, c, name, keep)
			if gone {
				dropped = append(dropped, name)
			}
			problems = append(problems, err)
		}
		_, err = c.Exec(ctx, s.sql(`SELECT outbox.purge_rest($1)`), keep)
		problems = append(problems, err, s.purge(ctx, c))
		return errors.Join(problems...)
	})
	return dropped, explain("retention", err)
}

// settledPartitions are those wholly below the sequence's position, oldest first.
func (s *Store) settledPartitions(ctx context.Context, c *pgx.Conn) ([]string, error) {
	rows, err := c.Query(ctx, s.sql(`SELECT p.name FROM outbox.partitions p, outbox.message_id_seq s WHERE p.hi <= s.last_value ORDER BY p.lo`))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (s *Store) dropOrShrink(ctx context.Context, c *pgx.Conn, name string, keep time.Duration) (dropped bool, err error) {
	var reason *string
	if err := c.QueryRow(ctx, s.sql(`SELECT outbox.drop_partition($1, $2)`), name, keep).Scan(&reason); err != nil || reason == nil {
		return err == nil, err
	}
	var pinned bool // by held messages: only such a partition shrinks, and only once
	err = c.QueryRow(ctx, s.sql(`SELECT EXISTS (SELECT FROM outbox.message_held h WHERE h.id >= p.lo AND h.id < p.hi)
		AND (SELECT count(*) FROM (SELECT FROM outbox.message_log m WHERE m.id >= p.lo AND m.id < p.hi LIMIT 10001) l) > 10000
		FROM outbox.partitions p WHERE p.name = $1`), name).Scan(&pinned)
	if err != nil || !pinned {
		return false, err
	}
	return false, c.QueryRow(ctx, s.sql(`SELECT outbox.shrink_partition($1, $2)`), name, 2*keep).Scan(&reason)
}

// purge forgets message ids, discards and attempts below the lowest partition, so that a given message id is remembered as long as its message.
func (s *Store) purge(ctx context.Context, c *pgx.Conn) error {
	var lowest int64
	if err := c.QueryRow(ctx, s.sql(`SELECT least((SELECT min(lo) FROM outbox.partitions), (SELECT lo FROM outbox.rest_range()))`)).Scan(&lowest); err != nil {
		return err
	}
	for table, column := range map[string]string{"message_ids": "message_id", "message_discarded": "id", "attempt": "ctid"} {
		q := s.sql(`DELETE FROM outbox.` + table + ` WHERE ` + column + ` = ANY (ARRAY(SELECT ` + column + ` FROM outbox.` + table + ` WHERE id < $1 ORDER BY id LIMIT $2))`)
		for {
			tag, err := c.Exec(ctx, q, lowest, purgeChunk)
			if err != nil {
				return err
			}
			if tag.RowsAffected() < purgeChunk {
				break
			}
		}
	}
	return nil
}

// LateRows is the self-check: pending ids at or below the low-water mark, at most 100, lowest first. There are none unless ids were written by hand, the id's
// default was disabled, or the sequence was set back. The caller counts them, logs them loudly and reads again from 0.
func (s *Store) LateRows(ctx context.Context, lowWater relay.ID) (late []relay.ID, err error) {
	err = s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, s.sql(`SELECT id FROM outbox.message_pending WHERE id <= $1 ORDER BY id LIMIT 100`), int64(lowWater))
		if err != nil {
			return err
		}
		late, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (id relay.ID, err error) { return id, r.Scan((*int64)(&id)) })
		return err
	})
	return late, explain("self-check", err)
}

// Limits are what SetLimits wrote for source, without the default.
func (s *Store) Limits(ctx context.Context, source string) (map[string]int, error) {
	limits := map[string]int{}
	err := s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, s.sql(`SELECT topic, max_bytes FROM outbox.limits WHERE source = $1 AND topic <> '*'`), source)
		if err != nil {
			return err
		}
		var topic string
		var size int
		_, err = pgx.ForEachRow(rows, []any{&topic, &size}, func() error { limits[topic] = size; return nil })
		return err
	})
	return limits, explain("limits", err)
}

// SetLimits makes publish refuse what the brokers would refuse: most bytes of payload, key and headers by topic, "*" = every other topic. Topics that source
// no longer names lose its limit; the default stays.
func (s *Store) SetLimits(ctx context.Context, limits map[string]int, source string) error {
	topics, sizes := make([]string, 0, len(limits)), make([]int32, 0, len(limits))
	for topic, size := range limits {
		topics, sizes = append(topics, topic), append(sizes, int32(size))
	}
	return explain("limits", s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, s.sql(`WITH gone AS (DELETE FROM outbox.limits WHERE source = $3 AND topic <> '*' AND NOT topic = ANY ($1::text[]))
			INSERT INTO outbox.limits AS l (topic, max_bytes, source) SELECT t, b, $3 FROM unnest($1::text[], $2::int[]) AS u(t, b)
			ON CONFLICT (topic) DO UPDATE SET max_bytes = excluded.max_bytes, source = excluded.source, updated_at = now()
			WHERE (l.max_bytes, l.source) IS DISTINCT FROM (excluded.max_bytes, excluded.source)`), topics, sizes, source)
		return err
	}))
}

// Registration is how a running relay, owner or standby, is known to the others.
type Registration struct {
	Instance  string
	StartedAt time.Time
	SeenAt    time.Time // by the database's clock; given back, not taken
	Version   string
	Address   string          // empty = none
	Checks    json.RawMessage // the last Check of each destination; nil = none yet
}

// registered is how long a relay counts as running after it was last seen.
const registered = 15 * time.Second

// Register writes or refreshes this relay's row and forgets relays that were not seen for a day. Call it every 5 s.
func (s *Store) Register(ctx context.Context, r Registration) error {
	if r.Checks == nil {
		r.Checks = json.RawMessage("{}")
	}
	return explain("register", s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, s.sql(`WITH gone AS (DELETE FROM outbox.relay WHERE seen_at < clock_timestamp() - interval '1 day' AND instance <> $1)
			INSERT INTO outbox.relay (instance, started_at, version, address, checks) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (instance) DO UPDATE SET started_at = excluded.started_at, seen_at = clock_timestamp(), version = excluded.version,
			address = excluded.address, checks = excluded.checks`), r.Instance, r.StartedAt, r.Version, given(r.Address), r.Checks)
		return err
	}))
}

// Unregister removes this relay's row at its clean stop.
func (s *Store) Unregister(ctx context.Context, instance string) error {
	return explain("unregister", s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, s.sql(`DELETE FROM outbox.relay WHERE instance = $1`), instance)
		return err
	}))
}

// Registered returns the relays seen in the last 15 s, by instance.
func (s *Store) Registered(ctx context.Context) (list []Registration, err error) {
	err = s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, s.sql(`SELECT instance, started_at, seen_at, version, coalesce(address, ''), checks FROM outbox.relay
			WHERE seen_at > clock_timestamp() - $1::bigint * interval '1 microsecond' ORDER BY instance`), registered.Microseconds())
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (n Registration, err error) {
			return n, r.Scan(&n.Instance, &n.StartedAt, &n.SeenAt, &n.Version, &n.Address, &n.Checks)
		})
		return err
	})
	return list, explain("registered relays", err)
}

// Holder is a transaction that keeps holes open: it has drawn an xid, so nothing written after its start is proven to be missing. It delays no message.
type Holder struct {
	PID      int32  // 0 = a prepared transaction
	GID      string // of a prepared transaction
	Database string
	User     string
	State    string // as pg_stat_activity has it; "prepared"
	Age      time.Duration
}

// Holders returns the transactions in the whole server that have written and are older than age, the oldest first, at most 20. Without the right to read
// pg_stat_activity of others (pg_monitor) only prepared transactions and our own login's are seen.
func (s *Store) Holders(ctx context.Context, age time.Duration) (list []Holder, err error) {
	err = s.keep(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, `SELECT pid, '', coalesce(datname, ''), coalesce(usename, ''), coalesce(state, ''), (extract(epoch FROM clock_timestamp() - xact_start) * 1000000)::bigint AS age
			FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND xact_start < clock_timestamp() - $1::bigint * interval '1 microsecond'
			UNION ALL SELECT 0, gid, database, owner, 'prepared', (extract(epoch FROM clock_timestamp() - prepared) * 1000000)::bigint
			FROM pg_catalog.pg_prepared_xacts WHERE prepared < clock_timestamp() - $1::bigint * interval '1 microsecond' ORDER BY age DESC LIMIT 20`, age.Microseconds())
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (h Holder, err error) {
			var us int64
			err = r.Scan(&h.PID, &h.GID, &h.Database, &h.User, &h.State, &us)
			h.Age = time.Duration(us) * time.Microsecond
			return h, err
		})
		return err
	})
	return list, explain("long transactions", err)
}

func (s *Store) keep(ctx context.Context, work func(context.Context, *pgx.Conn) error) error {
	return s.keeper.use(ctx, again, work)
}
