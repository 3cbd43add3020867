package app

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
)

// Four topics go to the four brokers at once. One after the other freezes, so that nothing even refuses, and the other three do not slow down. What was
// ambiguous is there twice at most where the broker does not recognise it; nothing is lost, and each key is in order.
func TestFourBrokersOneFrozen(t *testing.T) {
	t.Parallel()
	k, rocket, rabbit := testservices.KafkaCluster(t, 1), testservices.RocketMQCluster(t), testservices.RabbitMQCluster(t, 1)
	r := newRig(t, testservices.Postgres(t, 18).URL, k)
	there := elsewhere{prefix: r.prefix}
	rabbitmq, err := parseRabbitMQ(rabbit.URLs()[0], r.prefix)
	if err != nil {
		t.Fatal(err)
	}
	bundled := newDemoBundled(filepath.Join(t.TempDir(), "broker"))
	brokers := []struct {
		topic          string
		at             demoBroker
		freeze, resume func() error // nil: it is in this process
		copies         int          // most that may be there twice: lanes × batch for each freeze of its own
	}{
		{"to-bundled", bundled, nil, nil, 0},
		{"to-kafka", &demoKafka{elsewhere: there, brokers: k.Brokers}, func() error { return k.Pause(1) }, func() error { return k.Resume(1) }, 0},
		{"to-rocketmq", &demoRocketMQ{elsewhere: there, nameServers: rocket.NameServers}, func() error { return rocket.Pause(testservices.Master) },
			func() error { return rocket.Resume(testservices.Master) }, demoPartitions * 200 * 4},
		{"to-rabbitmq", rabbitmq, func() error { return rabbit.Pause(1) }, func() error { return rabbit.Resume(1) }, 8 * 200},
	}
	c, topics := r.config, []string{}
	c.Destinations, c.Routes = nil, nil
	for _, b := range brokers {
		if _, err := b.at.start(t.Context(), []string{b.topic}); err != nil {
			t.Fatal(err)
		}
		topics = append(topics, b.topic)
		to := b.at.destination()
		route := config.Route{Name: b.topic, Match: config.Match{Topic: b.topic}, To: config.To{Destination: to.Name}, Retry: c.Retry, OnDead: "block"}
		b.at.route(&route)
		c.Destinations, c.Routes = append(c.Destinations, to), append(c.Routes, route)
	}
	t.Cleanup(func() { _ = bundled.stop() })
	r.broker = bundled.inProcess()
	r.start("a")
	l := r.write(120, 40, "", topics...)
	for _, topic := range topics {
		eventually(t, topic+" is sent", func() bool { return r.sentOf(topic, 0) > 50 })
	}

	const probes = 25
	usual := map[string]time.Duration{}
	for _, topic := range topics {
		usual[topic] = r.medianOfProbes(topic, probes)
	}
	for _, broken := range brokers {
		if broken.freeze == nil {
			continue
		}
		if err := broken.freeze(); err != nil {
			t.Fatal(err)
		}
		frozen := r.newest()
		for _, topic := range topics {
			if topic == broken.topic {
				continue
			}
			took, limit := r.medianOfProbes(topic, probes), 2*usual[topic]+100*time.Millisecond
			for range 2 { // the load of other tests passes; a broker that holds others up does so as long as it is frozen
				if took > limit {
					took = r.medianOfProbes(topic, probes)
				}
			}
			t.Logf("%s frozen: %s takes %v, before %v", broken.topic, topic, took.Round(time.Millisecond), usual[topic].Round(time.Millisecond))
			if took > limit {
				t.Errorf("%s frozen: %s takes %v, before %v", broken.topic, topic, took, usual[topic])
			}
		}
		if n := ask[int](r, `SELECT count(*) FROM outbox.message_pending p JOIN outbox.message_log m USING (id) WHERE m.topic = $1 AND m.id > $2`, broken.topic, frozen); n < 20 {
			t.Errorf("%s: only %d messages wait: it was not frozen", broken.topic, n)
		}
		if err := broken.resume(); err != nil {
			t.Fatal(err)
		}
		eventually(t, broken.topic+" goes on", func() bool { return r.sentOf(broken.topic, frozen) > 50 })
	}
	l.stop()
	r.drained()
	produced, sent := r.written()
	for _, b := range brokers {
		r.verdictAt(b.at, b.topic, b.copies, produced, sent)
	}
}

// medianOfProbes is how long a message of a topic usually takes from its COMMIT until it is marked sent.
func (r *rig) medianOfProbes(topic string, n int) time.Duration {
	r.t.Helper()
	var took []time.Duration
	for range n {
		r.publish(text(topic, "probe"))
		began := time.Now()
		id := r.newestOf(topic, "probe")
		eventually(r.t, "a message to "+topic+" is sent", func() bool {
			left, err := tryAsk[int](r, `SELECT count(*) FROM outbox.message_pending WHERE id = $1`, id)
			return err == nil && left == 0
		})
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2]
}
