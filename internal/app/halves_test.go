package app

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/rocketmq"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestPositionsAt: a place elsewhere is no place of the destination's own.
func TestPositionsAt(t *testing.T) {
	got := positionsAt("a", []relay.Place{{Destination: "a", Offset: 5, HasOffset: true}, {Destination: "b", Offset: 5, HasOffset: true}})
	if want := []relay.Position{{Offset: 5, HasOffset: true}, {}}; !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

// TestHalvesEndAsTheTableSays: the program is killed again and again, and once the broker, while messages go as halves. In the end every message is in the topic,
// under the number of its receipt; no half is left open.
func TestHalvesEndAsTheTableSays(t *testing.T) {
	r := sharedRig(t)
	rocket := testservices.RocketMQCluster(t, testservices.BrokerSetting("transactionTimeOut", "6000"), testservices.BrokerSetting("transactionCheckInterval", "6000"))
	at := rocketmq.DefaultConfig()
	at.NameServers = rocket.NameServers
	topic := "halves_" + randomHex(4)
	const lanes, kills = 4, 3
	if err := rocketmq.CreateTopics(t.Context(), at, []string{topic}, lanes); err != nil {
		t.Fatal(err)
	}
	to := config.NewDestination("rocket", config.KindRocketMQ)
	to.RocketMQ.NameServers, to.RocketMQ.Transactional = rocket.NameServers, true
	r.config.Destinations, r.config.Routes = []config.Destination{to}, []config.Route{r.route("all", "*", "rocket")}
	r.lease(6*time.Second, time.Second, 2*time.Second)

	l := r.write(40, 0, "", topic)
	p := r.launch("a")
	more := func() {
		t.Helper()
		from := r.newest()
		eventually(t, "messages are sent", func() bool { return r.sentOf(topic, from) > 100 })
	}
	for range kills {
		more()
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		p = r.launch("a")
	}
	more()
	if err := rocket.Kill(testservices.Master); err != nil {
		t.Fatal(err)
	}
	if err := rocket.Start(testservices.Master); err != nil {
		t.Fatal(err)
	}
	more()
	l.stop()
	r.drained()
	eventually(t, "every half is ended", func() bool {
		n, err := rocketmq.Halves(t.Context(), at)
		return err == nil && n == 0
	})

	stored, copies := map[relay.ID][]string{}, 0
	if err := rocketmq.ReadAll(t.Context(), at, topic, func(rec rocketmq.Record) error {
		if rec.Torn {
			return nil
		}
		m, err := rec.Message(topic)
		number, _ := rec.Property("waybill-half")
		if stored[m.ID] = append(stored[m.ID], number); len(stored[m.ID]) > 1 {
			copies++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rows, err := r.pool.Query(ctx, `SELECT m.id, array(SELECT r.lane_offset::text FROM outbox.receipts_of(m.id) r) FROM outbox.message_log m`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	written := 0
	for rows.Next() {
		var id relay.ID
		var receipts []string
		if err := rows.Scan(&id, &receipts); err != nil {
			t.Fatal(err)
		}
		written++
		if len(receipts) == 0 || slices.ContainsFunc(receipts, func(n string) bool { return !slices.Contains(stored[id], n) }) {
			t.Errorf("message %d: receipts name the halves %v, stored are %v", id, receipts, stored[id])
		}
		delete(stored, id)
	}
	if err := rows.Err(); err != nil || len(stored) > 0 {
		t.Errorf("%d stored messages were never written: %v", len(stored), err)
	}
	// Each kill of the program loses sight of what is in flight or not settled in a lane; that of the broker, of what is in flight.
	if most := lanes * (kills*(1+r.config.Relay.Settle.MaxBatchesPerLane) + 1); copies > most {
		t.Errorf("%d copies more than messages, %d are explained", copies, most)
	}
	t.Logf("%d messages, %d copies more", written, copies)
}
