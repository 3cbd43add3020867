package app

import (
	"testing"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// D5, D18, R-M10..M12: what a person does to the dead while traffic runs: retry brings the head first, skip lets the key go on, discard gives it up. On a
// route with on_dead: skip the key goes on by itself.
func TestPeopleActOnTheDeadWhileTrafficRuns_D5_D6(t *testing.T) {
	r := sharedRig(t)
	r.config.Relay.WriteLimits = false
	small := map[string]string{"max.message.bytes": "60000"}
	block, skip := r.topic("block", 3, small), r.topic("skip", 3, small)
	skipping := r.route("skip", skip, "kafka")
	skipping.OnDead = "skip"
	r.config.Routes = append([]config.Route{skipping}, r.config.Routes...)
	r.start("a")
	l := r.write(90, 15, "", block, skip)

	heads := map[string]relay.ID{}
	for _, at := range []struct{ topic, key string }{{block, "retry"}, {block, "skip"}, {block, "discard"}, {skip, "goes on"}} {
		r.publish(text(at.topic, at.key))
		big := text(at.topic, at.key)
		big.Payload = make([]byte, 90_000)
		r.publish(big)
		heads[at.key] = relay.ID(r.newestOf(at.topic, at.key))
		r.publish(text(at.topic, at.key), text(at.topic, at.key))
	}
	dead := func(id relay.ID) bool {
		ok, err := tryAsk[bool](r, `SELECT EXISTS (SELECT FROM outbox.message_held WHERE id = $1 AND state = 'dead')`, id)
		return err == nil && ok
	}
	for key, id := range heads {
		eventually(t, "the head of "+key+" is dead", func() bool { return dead(id) })
	}
	eventually(t, "the key of the skipping route goes on", func() bool { return r.sentOf(skip, int64(heads["goes on"])) >= 2 && r.heldOf("goes on") == 1 })
	eventually(t, "the other keys wait", func() bool { return r.heldOf("retry") == 3 && r.heldOf("skip") == 3 && r.heldOf("discard") == 3 })

	p := r.people()
	act := func(name ActName, key string) {
		t.Helper()
		got, err := p.Act(t.Context(), name, []relay.ID{heads[key]}, "test")
		if err != nil || got.Changed != 1 || got.Activity == 0 {
			t.Fatalf("%s: %+v, %v", name, got, err)
		}
	}
	act(ActSkip, "skip")
	act(ActDiscard, "discard")
	eventually(t, "both keys go on", func() bool { return r.heldOf("skip") == 1 && r.heldOf("discard") == 0 })
	if !dead(heads["skip"]) {
		t.Error("what was skipped is not dead any more")
	}
	act(ActRetry, "retry") // in vain: the broker still refuses it
	eventually(t, "it is dead again, its key still waits", func() bool { return dead(heads["retry"]) && r.heldOf("retry") == 3 })
	if err := r.kafka.AlterTopicConfig(block, map[string]string{"max.message.bytes": "1000000"}); err != nil {
		t.Fatal(err)
	}
	act(ActRetry, "retry")
	eventually(t, "the key goes on, its head first", func() bool { return r.heldOf("retry") == 0 })
	l.stop()
	r.drained()
	if n := ask[int](r, `SELECT count(*) FROM outbox.activity WHERE action IN ('retry', 'skip', 'discard')`); n < 4 {
		t.Errorf("%d acts in the activity log, want 4", n)
	}
	if res := r.verdict(0); res.Pending != 2 || res.Discarded != 1 {
		t.Errorf("want two dead and one discarded: %+v", res)
	}
}

func (r *rig) heldOf(key string) int {
	n, err := tryAsk[int](r, `SELECT count(*) FROM outbox.message_held WHERE key = $1`, key)
	if err != nil {
		return -1
	}
	return n
}
