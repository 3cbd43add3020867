package testservices_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/waybillmq/waybill/internal/testservices"
)

// patience bounds what has no bound of its own.
const patience = 60 * time.Second

// produce writes one record to partition 0 with acks=all and returns the broker's answer to the first try.
func produce(t *testing.T, c *testservices.Cluster, topic, value string) error {
	t.Helper()
	return produceWithin(t, c, topic, value, patience)
}

// produceWithin gives the try up after limit. The broker is told half of it: without a limit of the client it is told to wait 500 ms for the in-sync
// replicas, whatever the context says, and a follower that begins to fetch a young topic may take longer than that.
func produceWithin(t *testing.T, c *testservices.Cluster, topic, value string, limit time.Duration) error {
	t.Helper()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(c.Brokers...), Transport: transport, Timeout: limit}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	res, err := client.Produce(ctx, &kafka.ProduceRequest{Topic: topic, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte(value))})})
	if err != nil {
		return err
	}
	return res.Error
}

// produceUntil repeats until the record is acked: while a leader is elected tries fail, and one that a paused leader does not answer is given up after 3 s.
func produceUntil(t *testing.T, c *testservices.Cluster, topic, value string) {
	t.Helper()
	const try = 3 * time.Second
	deadline := time.Now().Add(patience)
	err := produceWithin(t, c, topic, value, try)
	for err != nil && time.Now().Before(deadline) {
		err = produceWithin(t, c, topic, value, try)
	}
	must(t, err)
}

// leads waits until a node leads partition 0 of orders: node number by, or any when that is 0.
func leads(t *testing.T, c *testservices.Cluster, by int) int {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		leader, err := c.Leader("orders", 0)
		if err == nil && (by == 0 || leader == by) {
			return leader
		}
		if time.Now().After(deadline) {
			t.Fatalf("node %d leads, not %d: %v", leader, by, err)
		}
	}
}

// values reads partition 0 from the beginning to the value last.
func values(t *testing.T, c *testservices.Cluster, topic, last string) []string {
	t.Helper()
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: c.Brokers, Topic: topic, MaxWait: 100 * time.Millisecond})
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	for {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			t.Fatalf("after %q, before %q: %v", got, last, err)
		}
		if got = append(got, string(m.Value)); got[len(got)-1] == last {
			return got
		}
	}
}

func TestSharedKafkaTopics(t *testing.T) {
	c := testservices.Kafka(t)
	must(t, c.CreateTopic("plain", 3, nil))
	must(t, produce(t, c, "plain", "at once")) // a topic that was created takes a write at the first try
	if got := values(t, c, "plain", "at once"); len(got) != 1 {
		t.Errorf("read %q", got)
	}
	if err := c.CreateTopic("plain", 3, nil); !errors.Is(err, kafka.TopicAlreadyExists) {
		t.Errorf("created twice: %v", err)
	}
	must(t, c.AddPartitions("plain", 5))
	must(t, c.CreateTopic("small", 1, map[string]string{"max.message.bytes": "100"}))
	large := string(make([]byte, 200))
	if err := produce(t, c, "small", large); !errors.Is(err, kafka.MessageSizeTooLarge) {
		t.Errorf("a record above max.message.bytes: %v", err)
	}
	must(t, c.AlterTopicConfig("small", map[string]string{"max.message.bytes": "1000"}))
	produceUntil(t, c, "small", large)
	must(t, c.DeleteTopic("small"))
	if err := c.AlterTopicConfig("small", map[string]string{"max.message.bytes": "1"}); !errors.Is(err, kafka.UnknownTopicOrPartition) {
		t.Errorf("altered a topic that is gone: %v", err)
	}
}

func TestThreeNodesSurviveTheirFaults(t *testing.T) {
	c := testservices.KafkaCluster(t, 3)
	must(t, c.CreateTopic("orders", 1, nil))
	must(t, produce(t, c, "orders", "1"))
	for to := 1; to <= 3; to++ {
		must(t, c.MoveLeaders("orders", 1, to))
		leads(t, c, to) // the node that is asked learns of it a moment later
	}

	leader := leads(t, c, 0)
	must(t, c.Kill(leader))
	produceUntil(t, c, "orders", "2")
	must(t, c.Start(leader))

	leader = leads(t, c, 0)
	must(t, c.Pause(leader))
	produceUntil(t, c, "orders", "3")
	must(t, c.Resume(leader))
	if err := c.Resume(leader); err != nil {
		t.Errorf("resume of a node that runs: %v", err)
	}

	must(t, c.Stop(1))
	if err := c.Pause(1); err == nil {
		t.Error("a node that is down was paused")
	}
	produceUntil(t, c, "orders", "4")

	must(t, c.Kill())
	must(t, c.Start())
	// A try that timed out may have been stored: duplicates are allowed, loss and disorder are not.
	if got := slices.Compact(values(t, c, "orders", "4")); !slices.Equal(got, []string{"1", "2", "3", "4"}) {
		t.Errorf("read %q", got)
	}
}

func TestKafkaTakesOneOrThreeNodes(t *testing.T) {
	if _, err := testservices.NewKafka(t.Context(), 2); err == nil {
		t.Error("a cluster of two nodes was started")
	}
}

// A node that cannot start is told at once, with its own words, not when a time is over.
func TestKafkaThatEndsIsTold(t *testing.T) {
	c := testservices.KafkaCluster(t, 1)
	must(t, c.Kill())
	properties := filepath.Join(filepath.Dir(c.LogFile(1)), "server.properties")
	good, err := os.ReadFile(properties)
	must(t, err)
	must(t, os.WriteFile(properties, append(good, "\nnum.io.threads=none\n"...), 0o644))
	if err := c.Start(); err == nil || !strings.Contains(err.Error(), "it ended") || !strings.Contains(err.Error(), "num.io.threads") {
		t.Errorf("start with a broken configuration: %v", err)
	}
	must(t, os.WriteFile(properties, good, 0o644))
	must(t, c.Start())
}
