package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// demoKafka is a Kafka cluster that runs already.
type demoKafka struct {
	elsewhere
	brokers []string
}

// start makes the topics: as many replicas as there are brokers, at most three.
func (d *demoKafka) start(ctx context.Context, topics []string) (string, error) {
	d.topics = topics
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tr := &kafkago.Transport{ClientID: "waybill-demo"}
	defer tr.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(d.brokers...), Transport: tr}
	meta, err := client.Metadata(ctx, &kafkago.MetadataRequest{})
	if err != nil {
		return "", fmt.Errorf("no Kafka answers at %v: %w; start one or correct --kafka", d.brokers, err)
	}
	replicas := min(len(meta.Brokers), 3)
	req := &kafkago.CreateTopicsRequest{}
	for _, t := range topics {
		req.Topics = append(req.Topics, kafkago.TopicConfig{Topic: d.prefix + t, NumPartitions: demoPartitions, ReplicationFactor: replicas})
	}
	made, err := client.CreateTopics(ctx, req)
	if err != nil {
		return "", fmt.Errorf("make topics at %v: %w", d.brokers, err)
	}
	for topic, err := range made.Errors {
		if err != nil && !errors.Is(err, kafkago.TopicAlreadyExists) {
			return "", fmt.Errorf("make topic %s: %w", topic, err)
		}
	}
	return fmt.Sprintf("kafka with %d brokers, %d topics %s…", len(meta.Brokers), len(topics), d.prefix), nil
}

func (d *demoKafka) destination() config.Destination {
	to := config.NewDestination("kafka", config.KindKafka)
	to.Kafka.Brokers = d.brokers
	return to
}

func (d *demoKafka) route(r *config.Route) { r.To.Topic = d.prefix + "{topic}" }
func (d *demoKafka) name() string          { return strings.Join(d.brokers, ",") }

func (d *demoKafka) read(ctx context.Context) (stored []audit.Stored, err error) {
	for _, topic := range d.topics {
		err := kafka.ReadAll(ctx, d.brokers, d.prefix+topic, func(r kafka.Record) error {
			stored = append(stored, storedRecord(d.prefix+topic, topic, &r))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// storedRecord is a record of Kafka as the audit sees it.
func storedRecord(target, topic string, r *kafka.Record) audit.Stored {
	messageID, _ := r.Header("waybill-id")
	seq, _ := r.Header("waybill-seq")
	return storedAt(relay.Lane{Topic: target, Index: r.Partition}, r.Offset, messageID, seq, topic, r.Key, r.Value)
}
