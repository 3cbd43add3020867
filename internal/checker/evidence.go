package checker

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybillmq/waybill/relay/relaytest"
)

// Evidence is what one outbox left behind: enough to judge it again without any server.
type Evidence struct {
	relaytest.Evidence
	Name     string            `json:"name"`
	Heard    map[string]string `json:"heard"`   // by token: what the producer heard
	Epochs   int64             `json:"epochs"`  // owners in a row
	Fences   []string          `json:"fences"`  // settlements of an epoch that was no longer the newest
	Outages  []string          `json:"outages"` // dead without a refusal
	Stalled  bool              `json:"stalled"` // everything was healthy and nothing moved, with messages waiting
	Drained  bool              `json:"drained"`
	Rows     Count             `json:"rows"`
	Crashes  []string          `json:"crashes"`   // relays that ended by themselves
	Relaunch int               `json:"relaunch"`  // starts of relay processes
	Written  int64             `json:"written"`   // by the producers, as far as they heard
	PerSec   float64           `json:"per_sec"`   // written before the first fault
	Burst    int               `json:"burst"`     // most messages committed in 0.6 s: what a crash of database and relay together may repeat
	DrainSec float64           `json:"drain_sec"` // from the last heal to nothing pending
	Trail    Trail             `json:"trail"`
}

// Count is I12: the rows of the outbox by state.
type Count struct {
	Log, Pending, Held, Discarded, Sent int64
}

// collect reads oracle, outbox and broker.
func (o *outboxRun) collect(ctx context.Context, b *broker) (e Evidence, err error) {
	e.Name = o.name
	e.Fates, e.Receipts = map[string]relaytest.Fate{}, map[string]relaytest.Place{}
	conn, err := connect(ctx, o.url)
	if err != nil {
		return e, err
	}
	defer closeConn(conn)
	for what, read := range map[string]func(context.Context, *pgx.Conn, *Evidence) error{"oracle": o.readOracle, "outbox": o.readOutbox, "fence": readFence, "trail": readTrail} {
		if err := read(ctx, conn, &e); err != nil {
			return e, fmt.Errorf("read %s: %w", what, err)
		}
	}
	err = readTopic(ctx, b.addrs, o.topic, partitions, func(r *kgo.Record) { e.Delivered = append(e.Delivered, delivery(r)) })
	if err != nil {
		return e, err
	}
	if err := o.log.flush(); err != nil {
		return e, err
	}
	if e.Heard, err = readIntents(o.log.file.Name()); err != nil {
		return e, fmt.Errorf("read the intent log: %w", err)
	}
	committed := map[string]bool{}
	for _, f := range e.Committed {
		committed[f.Token] = true
	}
	for token := range e.Heard {
		if !committed[token] {
			e.Aborted = append(e.Aborted, token)
		}
	}
	e.Crashes, e.Relaunch, e.Written = o.relays.crashes(), o.relays.starts, o.producer.written.Load()
	return e, nil
}

func (o *outboxRun) readOracle(ctx context.Context, conn *pgx.Conn, e *Evidence) error {
	rows, err := conn.Query(ctx, `SELECT token, topic, key, n, sum, unordered FROM oracle.tx`)
	if err != nil {
		return err
	}
	e.Committed, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (f relaytest.Fact, err error) {
		var sum []byte
		err = r.Scan(&f.Token, &f.Topic, &f.Key, &f.N, &sum, &f.Unordered)
		copy(f.Sum[:], sum)
		return f, err
	})
	return err
}

// readOutbox maps ids to tokens by the rows of message_log, and decodes states and receipts.
func (o *outboxRun) readOutbox(ctx context.Context, conn *pgx.Conn, e *Evidence) error {
	tokens := map[int64]string{}
	err := scan(ctx, conn, `SELECT id, headers->>'token' FROM outbox.message_log`, func(r pgx.Rows) error {
		var id int64
		var token string
		err := r.Scan(&id, &token)
		tokens[id] = token
		return err
	})
	if err != nil {
		return err
	}
	e.Rows.Log = int64(len(tokens))
	err = scan(ctx, conn, `SELECT id, 'pending', false, '' FROM outbox.message_pending UNION ALL SELECT id, state, passed, coalesce(outcome, '') FROM outbox.message_held
		UNION ALL SELECT id, 'discarded', false, '' FROM outbox.message_discarded`, func(r pgx.Rows) error {
		var id int64
		var state, outcome string
		var passed bool
		if err := r.Scan(&id, &state, &passed, &outcome); err != nil {
			return err
		}
		token, known := tokens[id]
		if !known {
			return fmt.Errorf("message %d is %s and has no row in message_log", id, state)
		}
		if _, twice := e.Fates[token]; twice {
			return fmt.Errorf("message %d is in more than one table", id)
		}
		e.Rows.add(state)
		e.Fates[token] = fate(state, passed)
		if state == "dead" && outcome != "rejected" {
			e.Outages = append(e.Outages, fmt.Sprintf("message %d (%s) is dead after %s, and the broker never refused it", id, token, outcome))
		}
		return nil
	})
	if err != nil {
		return err
	}
	e.Rows.Sent = e.Rows.Log - e.Rows.Pending - e.Rows.Held - e.Rows.Discarded
	return scan(ctx, conn, `SELECT lane, coalesce(first_offset, -1), n, ids FROM outbox.receipts ORDER BY epoch, seq`, func(r pgx.Rows) error {
		var lane string
		var first int64
		var n int
		var raw []byte
		if err := r.Scan(&lane, &first, &n, &raw); err != nil {
			return err
		}
		ids, err := idsOf(raw)
		if err != nil || len(ids) != n {
			return fmt.Errorf("a receipt of lane %s holds %d ids, not %d (%v)", lane, len(ids), n, err)
		}
		for i, id := range ids {
			place := relaytest.Place{Lane: lane, Offset: first}
			if first >= 0 {
				place.Offset += int64(i)
			}
			e.Receipts[tokens[id]] = place
		}
		return nil
	})
}

func (c *Count) add(state string) {
	switch state {
	case "pending":
		c.Pending++
	case "discarded":
		c.Discarded++
	default:
		c.Held++
	}
}

func fate(state string, passed bool) relaytest.Fate {
	switch {
	case state == "pending":
		return relaytest.Waits
	case state == "discarded":
		return relaytest.GivenUp
	case passed:
		return relaytest.LetPass
	case state == "scheduled":
		return relaytest.Postponed
	}
	return relaytest.Stuck
}

// readFence reads what the trigger on receipts found, how many owners there were, and the busiest moment.
func readFence(ctx context.Context, conn *pgx.Conn, e *Evidence) error {
	err := scan(ctx, conn, `SELECT format('a settlement of lane %s by epoch %s while epoch %s owned the outbox, at %s', lane, epoch, owner, at) FROM oracle.fence ORDER BY at`,
		func(r pgx.Rows) error {
			var text string
			err := r.Scan(&text)
			e.Fences = append(e.Fences, text)
			return err
		})
	if err != nil {
		return err
	}
	err = conn.QueryRow(ctx, `SELECT coalesce(max(c), 0) FROM (SELECT count(*) OVER (ORDER BY created_at RANGE BETWEEN interval '0.6 s' PRECEDING AND CURRENT ROW) AS c
		FROM outbox.message_log) x`).Scan(&e.Burst)
	if err != nil {
		return err
	}
	return conn.QueryRow(ctx, `SELECT epoch FROM outbox.owner`).Scan(&e.Epochs)
}

func scan(ctx context.Context, conn *pgx.Conn, sql string, each func(pgx.Rows) error) error {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// idsOf decodes the ids of a receipt: the first as it is, then each difference, as unsigned LEB128.
func idsOf(raw []byte) (ids []int64, err error) {
	var sum, v uint64
	shift := 0
	for _, b := range raw {
		v |= uint64(b&0x7f) << shift
		if shift += 7; b&0x80 != 0 {
			if shift > 63 {
				return nil, errors.New("a number that is too long")
			}
			continue
		}
		sum += v
		ids = append(ids, int64(sum))
		v, shift = 0, 0
	}
	if shift != 0 {
		return nil, errors.New("cut off in a number")
	}
	return ids, nil
}

// save writes evidence for a later judgement.
func (e *Evidence) save(dir string) (err error) {
	file, err := os.Create(filepath.Join(dir, e.Name+".evidence.json.gz"))
	if err != nil {
		return err
	}
	z := gzip.NewWriter(file)
	defer func() { err = errors.Join(err, z.Close(), file.Close()) }()
	return json.NewEncoder(z).Encode(e)
}

// load reads what save wrote.
func load(path string) (e Evidence, err error) {
	file, err := os.Open(path)
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	z, err := gzip.NewReader(file)
	if err != nil {
		return e, err
	}
	return e, json.NewDecoder(z).Decode(&e)
}
