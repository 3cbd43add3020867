package app

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// C16: when a destination's name leads to another cluster than before, nothing is sent there, and the relay says so and what to do. G1: while a drain waits
// for a broker that does not answer, a second signal ends the program at once.
func TestAnotherClusterIsRefused_C16_ASecondSignalEndsAtOnce_G1(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 2, nil)
	r.start("a")
	r.publish(text(topic, "k"))
	r.drained()
	r.stopAll()

	second := testservices.KafkaCluster(t, 1)
	if err := second.CreateTopic(topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	first := r.config.Destinations[0].Kafka.Brokers
	r.config.Destinations[0].Kafka.Brokers = second.Brokers
	r.publish(text(topic, "k"), text(topic, "other"))
	b := r.start("b")
	var detail string
	eventually(t, "the destination is refused", func() bool {
		var state string
		state, detail = r.said("kafka")
		return state == relay.DestinationConfig
	})
	if !strings.Contains(detail, `"kafka" is another cluster than before`) || !strings.Contains(detail, "waybill destination adopt") {
		t.Errorf("said: %s", detail)
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if n := r.waiting(); n != 2 {
		t.Errorf("%d of 2 wait", n)
	}
	r.topics[topic] = second
	if n := len(r.records(t.Context(), topic)); n != 0 {
		t.Errorf("%d records at the other cluster", n)
	}
	r.topics[topic] = r.kafka
	r.config.Destinations[0].Kafka.Brokers = first
	r.start("c")
	r.drained()
	r.verdict(0)

	s := newRig(t, testservices.Postgres(t, 18).URL, second)
	s.lease(2*time.Second, 300*time.Millisecond, 600*time.Millisecond) // nobody gives the lease back
	orders := s.topic("orders", 2, nil)
	p := s.launch("d")
	s.publish(text(orders, "k"))
	s.drained()
	if err := second.Pause(1); err != nil {
		t.Fatal(err)
	}
	s.publish(text(orders, "k"))
	eventually(t, "it is on its way", func() bool {
		n, err := tryAsk[int64](s, `SELECT last_value FROM outbox.claimed`)
		return err == nil && n == s.newest()
	})
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for p.Running() && time.Since(began) < 10*time.Second { // the first one may not have been noticed yet
		_ = p.Signal(syscall.SIGTERM) // it may have ended just now
		lasts(t, 50*time.Millisecond)
	}
	if code := p.exits(); code != 130 {
		t.Errorf("exit code %d after a second signal, want 130", code)
	}
	if err := second.Resume(1); err != nil {
		t.Fatal(err)
	}
	s.start("e")
	s.drained()
	s.verdict(1)
}
