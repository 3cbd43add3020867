package app

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/relay"
)

// prove compares every committed message with what the broker holds now.
func (d *demo) prove(ctx context.Context) (DemoResult, error) {
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return DemoResult{}, err
	}
	defer conn.Close(ctx)
	produced, err := readProduced(ctx, conn)
	if err != nil {
		return DemoResult{}, fmt.Errorf("read the outbox: %w", err)
	}
	sent, err := readSent(ctx, conn)
	if err != nil {
		return DemoResult{}, fmt.Errorf("read the receipts: %w", err)
	}
	var stored []audit.Stored
	for _, b := range d.brokers {
		more, err := b.read(ctx)
		if err != nil {
			return DemoResult{}, fmt.Errorf("read %s back: %w", b.name(), err)
		}
		stored = append(stored, more...)
	}
	return DemoResult{Result: audit.Compare(produced, sent, stored)}, nil
}

// storedAt is a record as the audit sees it. seq is the id that its header names.
func storedAt(at relay.Lane, offset int64, messageID, seq, topic string, key, value []byte) audit.Stored {
	id, _ := strconv.ParseInt(seq, 10, 64) // a record without it is foreign: id 0
	return audit.Stored{At: audit.Place{Lane: at.String(), Offset: offset}, ID: id, MessageID: messageID, Sum: audit.SumOf(topic, string(key), value)}
}

func readProduced(ctx context.Context, conn *pgx.Conn) ([]audit.Produced, error) {
	rows, err := conn.Query(ctx, `SELECT m.id, coalesce(m.message_id, (SELECT g.outbox_id::text FROM outbox.generations g WHERE g.from_id <= m.id
			ORDER BY g.from_id DESC LIMIT 1) || '-' || m.id), m.topic, coalesce(m.key, ''), m.payload, m.deliver_after IS NOT NULL,
			p.id IS NOT NULL OR h.id IS NOT NULL, x.id IS NOT NULL
		FROM outbox.message_log m LEFT JOIN outbox.message_pending p ON p.id = m.id LEFT JOIN outbox.message_held h ON h.id = m.id
			LEFT JOIN outbox.message_discarded x ON x.id = m.id ORDER BY m.id`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (p audit.Produced, err error) {
		var payload []byte
		var scheduled bool
		err = r.Scan(&p.ID, &p.MessageID, &p.Topic, &p.Key, &payload, &scheduled, &p.Waits, &p.Discarded)
		p.Unordered = scheduled || p.Key == ""
		p.Sum = audit.SumOf(p.Topic, p.Key, payload)
		return p, err
	})
}

func readSent(ctx context.Context, conn *pgx.Conn) (map[int64]audit.Place, error) {
	rows, err := conn.Query(ctx, `SELECT lo, n, ids, lane, coalesce(first_offset, -1) FROM outbox.receipts`)
	if err != nil {
		return nil, err
	}
	sent := map[int64]audit.Place{}
	var lo, offset int64
	var n int
	var raw []byte
	var lane string
	_, err = pgx.ForEachRow(rows, []any{&lo, &n, &raw, &lane, &offset}, func() error {
		ids, err := postgres.DecodeIDs(relay.ID(lo), n, raw)
		for i, id := range ids {
			at := audit.Place{Lane: lane, Offset: offset}
			if offset >= 0 {
				at.Offset += int64(i)
			}
			sent[int64(id)] = at
		}
		return err
	})
	return sent, err
}
