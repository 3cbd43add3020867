package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// headerSeq is the record header with the id of the message, as the Kafka adapter writes it. The textbook loop writes it too: without an id no consumer can
// drop a repeat.
const headerSeq = "waybill-seq"

const (
	kafkaPartitions = 6
	kafkaPatience   = 30 * time.Second // for an answer of the cluster, and for the next record of a topic that is read back
)

// topic is one topic of a run. Each run has its own: nothing of an earlier one is in the way of reading it back.
type topic struct {
	name    string
	brokers []string
	client  *kafkago.Client
}

// makeTopic creates a topic with 6 partitions and one replica.
func makeTopic(ctx context.Context, brokers []string) (*topic, error) {
	t := &topic{name: "waybill-bench-" + randomHex(), brokers: brokers}
	t.client = &kafkago.Client{Addr: kafkago.TCP(brokers...), Transport: &kafkago.Transport{ClientID: "waybill-bench"}}
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	made, err := t.client.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{{Topic: t.name, NumPartitions: kafkaPartitions, ReplicationFactor: 1}}})
	if err != nil {
		return nil, fmt.Errorf("no Kafka answers at %v: %w; start one or correct --kafka", brokers, err)
	}
	if err := made.Errors[t.name]; err != nil {
		return nil, fmt.Errorf("make topic %s: %w", t.name, err)
	}
	if err := t.awaitLeaders(ctx); err != nil {
		return nil, errors.Join(err, t.remove())
	}
	return t, nil
}

// awaitLeaders asks until every partition has a leader.
func (t *topic) awaitLeaders(ctx context.Context) error {
	for {
		meta, err := t.client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{t.name}})
		if err != nil {
			return fmt.Errorf("topic %s: %w", t.name, err)
		}
		led := 0
		for _, topic := range meta.Topics {
			for _, p := range topic.Partitions {
				if p.Error == nil && p.Leader.Host != "" {
					led++
				}
			}
		}
		if led == kafkaPartitions {
			return nil
		}
		if !pause(ctx, 20*time.Millisecond) {
			return fmt.Errorf("topic %s has %d of %d leaders: %w", t.name, led, kafkaPartitions, ctx.Err())
		}
	}
}

// remove deletes the topic with its data.
func (t *topic) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), kafkaPatience)
	defer cancel()
	gone, err := t.client.DeleteTopics(ctx, &kafkago.DeleteTopicsRequest{Topics: []string{t.name}})
	if err == nil {
		err = gone.Errors[t.name]
	}
	t.client.Transport.(*kafkago.Transport).CloseIdleConnections()
	if err != nil {
		return fmt.Errorf("remove topic %s: %w", t.name, err)
	}
	return nil
}

// check reads the topic back and says whether it holds every message once and each key in order. A partition is read in its order, and a key has one.
func (t *topic) check(ctx context.Context, w *witness) error {
	ends, err := t.ends(ctx)
	if err != nil {
		return err
	}
	consumer, err := t.consumer()
	if err != nil {
		return err
	}
	defer consumer.Close()
	for read := int64(0); read < ends; {
		call, cancel := context.WithTimeout(ctx, kafkaPatience)
		fetches := consumer.PollFetches(call)
		cancel()
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("read topic %s back: %d of %d records: %w", t.name, read, ends, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			w.saw(recordID(r), string(r.Key))
		})
	}
	return w.verdict()
}

// consumer reads the topic from its beginning, without a group.
func (t *topic) consumer() (*kgo.Client, error) {
	from := map[int32]kgo.Offset{}
	for p := range int32(kafkaPartitions) {
		from[p] = kgo.NewOffset().AtStart()
	}
	return kgo.NewClient(kgo.SeedBrokers(t.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{t.name: from}), kgo.FetchMaxWait(time.Second))
}

// producer sends at once, to all replicas, without compression, as the relay does.
func (t *topic) producer() (*kgo.Client, error) {
	return kgo.NewClient(kgo.SeedBrokers(t.brokers...), kgo.DefaultProduceTopic(t.name), kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
}

// ends is how many records the topic holds.
func (t *topic) ends(ctx context.Context) (sum int64, err error) {
	ask := make([]kafkago.OffsetRequest, kafkaPartitions)
	for p := range ask {
		ask[p] = kafkago.LastOffsetOf(p)
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	answer, err := t.client.ListOffsets(ctx, &kafkago.ListOffsetsRequest{Topics: map[string][]kafkago.OffsetRequest{t.name: ask}})
	if err != nil {
		return 0, fmt.Errorf("topic %s: %w", t.name, err)
	}
	for _, p := range answer.Topics[t.name] {
		sum += p.LastOffset
		err = errors.Join(err, p.Error)
	}
	return sum, err
}

// recordID is the id of the message in a record; 0 = it has none, which no run writes.
func recordID(r *kgo.Record) int64 {
	for _, h := range r.Headers {
		if h.Key == headerSeq {
			id, err := strconv.ParseInt(string(h.Value), 10, 64)
			if err == nil {
				return id
			}
		}
	}
	return 0
}
