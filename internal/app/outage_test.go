package app

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/outbox"
	"github.com/waybillmq/waybill/relay"
)

// outage is how long a broker stays away; WAYBILL_TEST_OUTAGE=60s makes it longer.
func outage(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("WAYBILL_TEST_OUTAGE")
	if text == "" {
		return 20 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("WAYBILL_TEST_OUTAGE: %v", err)
	}
	return d
}

// D4, E21, I13: a broker that is away under load costs no attempt and holds nothing: its messages wait in the table and drain in order, none twice. The
// other destination does not notice.
func TestOutageCostsNoAttemptAndLeavesTheOtherDestinationAlone_D4_E21(t *testing.T) {
	t.Parallel()
	k := testservices.KafkaCluster(t, 1)
	r := newRig(t, testservices.Postgres(t, 18).URL, k)
	other := testservices.Kafka(t)
	r.destination("well", other)
	r.config.Routes = []config.Route{r.route("well", "*.well", "well"), r.route("rest", "*", "kafka")}
	down, well := r.topic("down", 6, nil), r.topicAt(other, "a.well", 6, nil)
	r.start("a")
	l := r.write(100, 40, "", down, well)
	eventually(t, "both are sent", func() bool { return r.sentOf(down, 0) > 100 && r.sentOf(well, 0) > 100 })

	if err := k.Kill(); err != nil {
		t.Fatal(err)
	}
	gone := r.newest()
	eventually(t, "the breaker is open", func() bool { state, _ := r.said("kafka"); return state == relay.DestinationOpen })
	for end := time.Now().Add(outage(t)); time.Now().Before(end); {
		m := text(well, "probe")
		began := time.Now()
		r.publish(m)
		id := r.newestOf(well, "probe")
		within(t, 5*time.Second, "the other destination goes on at once", func() bool {
			n, err := tryAsk[int](r, `SELECT count(*) FROM outbox.message_pending WHERE id = $1`, id)
			return err == nil && n == 0
		})
		if took := time.Since(began); took > time.Second {
			t.Logf("a message to the other destination took %v", took)
		}
		lasts(t, 250*time.Millisecond)
	}
	if all := ask[bool](r, `SELECT count(*) > 100 AND count(*) = count(p.id) FROM outbox.message_log m LEFT JOIN outbox.message_pending p USING (id)
		WHERE m.topic = $1 AND m.id > $2`, down, gone); !all {
		t.Errorf("what was written during the outage is not all pending: %s", r.picture())
	}
	if n := ask[int](r, `SELECT (SELECT count(*) FROM outbox.message_held) + (SELECT count(*) FROM outbox.attempt)`); n != 0 {
		t.Errorf("%d messages were held or charged", n)
	}
	eventually(t, "the degraded cache has them", func() bool { return r.cached("kafka") > 100 })
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the backlog is sent", func() bool { return r.sentOf(down, gone) > 100 })
	l.stop()
	r.drained()
	eventually(t, "the breaker is closed", func() bool { state, _ := r.said("kafka"); return state == relay.DestinationClosed })
	eventually(t, "the cache is empty", func() bool { return r.cached("kafka") == 0 })
	if n := ask[int](r, `SELECT count(*) FROM outbox.attempt`); n != 0 {
		t.Errorf("%d attempts were charged", n)
	}
	r.verdict(0)
}

// E5, E22, R16: the leader of some partitions is paused: the others go on, nothing is lost, no key is out of order, nothing is there twice, because each
// batch is presented unchanged until it is answered, and nothing is charged, because no answer blames a message. Then a topic has too few replicas in all its
// partitions: a message that comes now and then for another topic does not wait with it.
func TestPausedLeaderStopsItsOwnPartitionsOnly_E5_E22(t *testing.T) {
	t.Parallel()
	k := testservices.KafkaCluster(t, 3)
	r := newRig(t, testservices.Postgres(t, 18).URL, k)
	topic, strict := r.topic("orders", 6, nil), r.topic("strict", 6, map[string]string{"min.insync.replicas": "3"})
	r.start("a")
	l := r.write(100, 60, "", topic)
	eventually(t, "it is sent", func() bool { return r.sentOf(topic, 0) > 200 })
	for range 2 {
		leader, err := k.Leader(topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Pause(leader); err != nil {
			t.Fatal(err)
		}
		above := r.newest()
		eventually(t, "others go on while it is paused", func() bool { return r.sentOf(topic, above) > 200 })
		if err := k.Resume(leader); err != nil {
			t.Fatal(err)
		}
		above = r.newest()
		eventually(t, "all go on", func() bool { return r.sentOf(topic, above) > 100 })
	}
	l.stop()
	r.drained()

	if err := k.Stop(3); err != nil {
		t.Fatal(err)
	}
	var refused []outbox.Message
	for i := range 60 {
		refused = append(refused, text(strict, fmt.Sprint("key-", i)))
	}
	above := r.newest()
	r.publish(refused...)
	for i := range 20 {
		key := fmt.Sprint("now-and-then-", i)
		r.publish(text(topic, key))
		id := r.newestOf(topic, key)
		within(t, 5*time.Second, "the other topic goes on", func() bool {
			n, err := tryAsk[int](r, `SELECT count(*) FROM outbox.message_pending WHERE id = $1`, id)
			return err == nil && n == 0
		})
		lasts(t, 250*time.Millisecond)
	}
	if n := r.sentOf(strict, above); n != 0 {
		t.Errorf("%d messages of the topic with too few replicas are marked sent", n)
	}
	if state, detail := r.said("kafka"); state == relay.DestinationOpen {
		t.Errorf("two topics, one of them well, and the breaker is open: %s", detail)
	}
	if err := k.Start(3); err != nil {
		t.Fatal(err)
	}
	r.drained()
	if charged := ask[string](r, `SELECT coalesce(string_agg(DISTINCT concat_ws(' ', outcome, error_code, n), ', '), '') FROM outbox.attempt`); charged != "" {
		t.Errorf("attempts were charged: %s", charged)
	}
	if n := ask[int](r, `SELECT count(*) FROM outbox.message_held`); n != 0 {
		t.Errorf("%d are held", n)
	}
	r.verdict(0)
}

// E16: a topic that is deleted under load pauses itself and nothing else, says what to do, charges nothing, and heals by itself when it is made again.
func TestDeletedTopicPausesAloneAndHeals_E16(t *testing.T) {
	r := sharedRig(t)
	gone, stays := r.topic("gone", 3, nil), r.topic("stays", 3, nil)
	r.start("a")
	l := r.write(60, 20, "", gone, stays)
	eventually(t, "both are sent", func() bool { return r.sentOf(gone, 0) > 50 && r.sentOf(stays, 0) > 50 })
	if err := r.kafka.DeleteTopic(gone); err != nil {
		t.Fatal(err)
	}
	deleted := ask[time.Time](r, `SELECT clock_timestamp()`)
	above := r.newest()
	eventually(t, "the other topic goes on", func() bool { return r.sentOf(stays, above) > 50 })
	var detail string
	within(t, 2*time.Minute, "the topic is paused and says why", func() bool {
		var state string
		state, detail = r.said("kafka")
		return state == relay.DestinationConfig && strings.Contains(detail, gone)
	})
	t.Logf("said: %s", detail)
	above = r.newest()
	eventually(t, "the other topic still goes on", func() bool { return r.sentOf(stays, above) > 50 })
	if n := ask[int](r, `SELECT (SELECT count(*) FROM outbox.message_held) + (SELECT count(*) FROM outbox.attempt)`); n != 0 {
		t.Errorf("%d messages were held or charged", n)
	}
	if n := ask[int](r, `SELECT count(*) FROM outbox.receipts WHERE lane LIKE $1 || '%' AND acked_at > $2`, gone, deleted.Add(time.Second)); n != 0 {
		t.Errorf("%d batches of a deleted topic are marked sent", n)
	}
	lost := map[int64]bool{} // went with the topic
	sent, err := readSentIDs(r, gone)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range sent {
		lost[id] = true
	}
	if err := r.kafka.CreateTopic(gone, 3, nil); err != nil {
		t.Fatal(err)
	}
	r.publish(outbox.Message{Topic: gone, Key: "key-1", Payload: []byte("after")})
	l.stop()
	r.drained()
	r.verdict(0, func(id int64) bool { return lost[id] })
}

// readSentIDs lists what is marked sent of a topic.
func readSentIDs(r *rig, topic string) (ids []int64, err error) {
	err = r.pool.QueryRow(r.t.Context(), `SELECT coalesce(array_agg(id), '{}') FROM outbox.message_log m WHERE topic = $1
		AND NOT EXISTS (SELECT FROM outbox.message_pending p WHERE p.id = m.id) AND NOT EXISTS (SELECT FROM outbox.message_held h WHERE h.id = m.id)`, topic).Scan(&ids)
	return ids, err
}

// cached is how many messages of a destination the owner reports to be in its degraded cache.
func (r *rig) cached(destination string) int {
	r.t.Helper()
	o, err := r.people().Overview(r.t.Context())
	if err != nil {
		return -1
	}
	st, _ := o.Destination(destination)
	return st.Cached
}
