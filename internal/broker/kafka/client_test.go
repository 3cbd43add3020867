package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// franz-go makes a topic, produces with acks of all and its usual idempotence, every compression, and consumes from the start.
func TestFranzGo(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin, err := kgo.NewClient(kgo.SeedBrokers(p.address))
	must(t, err)
	defer admin.Close()
	make1 := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "orders", 3, -1
	make1.Topics = append(make1.Topics, topic)
	made, err := make1.RequestWith(ctx, admin)
	if err != nil || made.Topics[0].ErrorCode != 0 || made.Topics[0].NumPartitions != 3 {
		t.Fatalf("%+v, %v", made, err)
	}
	const each = 40
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		producer, err := kgo.NewClient(kgo.SeedBrokers(p.address), kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic("orders"))
		must(t, err)
		var records []*kgo.Record
		for j := range each {
			records = append(records, &kgo.Record{Key: fmt.Append(nil, j), Value: fmt.Append(nil, i, " and ", j)})
		}
		must(t, producer.ProduceSync(ctx, records...).FirstErr())
		producer.Close()
	}
	consumer, err := kgo.NewClient(kgo.SeedBrokers(p.address), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(t, err)
	defer consumer.Close()
	seen, next := map[string]int{}, map[int32]int64{}
	for len(seen) < 5*each {
		fetches := consumer.PollFetches(ctx)
		must(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if seen[string(r.Value)]++; r.Offset != next[r.Partition] {
				t.Errorf("partition %d: offset %d, want %d", r.Partition, r.Offset, next[r.Partition])
			}
			next[r.Partition] = r.Offset + 1
		})
	}
	for value, n := range seen {
		if n != 1 {
			t.Errorf("%q came %d times", value, n)
		}
	}
}

func TestKafkaGo(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := &kafkago.Client{Addr: kafkago.TCP(p.address), Transport: &kafkago.Transport{}}
	defer client.Transport.(*kafkago.Transport).CloseIdleConnections()
	made, err := client.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{{Topic: "orders", NumPartitions: 1, ReplicationFactor: 1}}})
	if err != nil || made.Errors["orders"] != nil {
		t.Fatalf("%+v, %v", made, err)
	}
	w := &kafkago.Writer{Addr: kafkago.TCP(p.address), Topic: "orders", RequiredAcks: kafkago.RequireAll, BatchTimeout: time.Millisecond, Transport: client.Transport}
	for i := range 20 {
		must(t, w.WriteMessages(ctx, kafkago.Message{Value: fmt.Append(nil, i)}))
	}
	must(t, w.Close())
	r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: []string{p.address}, Topic: "orders", Partition: 0, MaxWait: 100 * time.Millisecond})
	for i := range 20 {
		m, err := r.ReadMessage(ctx)
		if err != nil || m.Offset != int64(i) || string(m.Value) != fmt.Sprint(i) {
			t.Fatalf("%d: %+v, %v", i, m, err)
		}
	}
	must(t, r.Close())
}
