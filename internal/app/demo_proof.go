package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/relay"
)

// topics makes the demonstration's topics: as many replicas as there are brokers, at most three.
func (d *demo) topics(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tr := &kafkago.Transport{ClientID: "waybill-demo"}
	defer tr.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(d.Kafka...), Transport: tr}
	meta, err := client.Metadata(ctx, &kafkago.MetadataRequest{})
	if err != nil {
		return "", fmt.Errorf("no Kafka answers at %v: %w; start one or correct --kafka", d.Kafka, err)
	}
	replicas := min(len(meta.Brokers), 3)
	req := &kafkago.CreateTopicsRequest{}
	for _, t := range demoTopics {
		req.Topics = append(req.Topics, kafkago.TopicConfig{Topic: d.prefix + t, NumPartitions: demoPartitions, ReplicationFactor: replicas})
	}
	made, err := client.CreateTopics(ctx, req)
	if err != nil {
		return "", fmt.Errorf("make topics at %v: %w", d.Kafka, err)
	}
	for topic, err := range made.Errors {
		if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) {
			return "", fmt.Errorf("make topic %s: %w", topic, err)
		}
	}
	return fmt.Sprintf("kafka with %d brokers, topics %s…", len(meta.Brokers), d.prefix), nil
}

// prove compares every committed message with what Kafka holds now.
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
	for _, topic := range demoTopics {
		err := kafka.ReadAll(ctx, d.Kafka, d.prefix+topic, func(r kafka.Record) error {
			stored = append(stored, storedRecord(d.prefix+topic, topic, &r))
			return nil
		})
		if err != nil {
			return DemoResult{}, err
		}
	}
	return DemoResult{Result: audit.Compare(produced, sent, stored)}, nil
}

func storedRecord(target, topic string, r *kafka.Record) audit.Stored {
	messageID, _ := r.Header("waybill-id")
	seq, _ := r.Header("waybill-seq")
	id, _ := strconv.ParseInt(seq, 10, 64) // a record without it is foreign: id 0
	at := audit.Place{Lane: relay.Lane{Topic: target, Index: r.Partition}.String(), Offset: r.Offset}
	return audit.Stored{At: at, ID: id, MessageID: messageID, Sum: audit.SumOf(topic, string(r.Key), r.Value)}
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
			sent[int64(id)] = audit.Place{Lane: lane, Offset: offset + int64(i)}
		}
		return err
	})
	return sent, err
}
