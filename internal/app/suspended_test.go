package app

import (
	"syscall"
	"testing"
	"time"
)

// B6: the machine of the owner is suspended under load, and goes on after another relay has taken over and sent for a while. It finds itself replaced, stands by, and
// works again when it is its turn. Nothing is lost, first deliveries are in order, repeats stay within the published bound.
func TestOwnerIsSuspendedPastItsLease_B6(t *testing.T) {
	r := sharedRig(t)
	r.lease(2*time.Second, 300*time.Millisecond, time.Second)
	r.config.Destinations[0].Kafka.Batch.MaxMessages = 20
	const partitions = 4
	topic := r.topic("orders", partitions, nil)
	l := r.write(200, 30, "", topic)
	a := r.launch("a")
	sends := func(who string) {
		t.Helper()
		above := r.newest()
		eventually(t, who+" sends", func() bool { return r.sentOf(topic, above) > 200 })
	}
	sends("a")
	b := r.start("b")
	eventually(t, "b stands by", func() bool { return ask[int](r, `SELECT count(*) FROM outbox.relay`) == 2 })
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		if err := a.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if sig == syscall.SIGSTOP {
			r.owned("b")
			eventually(t, "the quiet time is over", func() bool { return ask[bool](r, `SELECT clock_timestamp() > quiet_until FROM outbox.owner`) })
		}
		sends("b")
	}
	eventually(t, "a stands by", func() bool {
		return ask[bool](r, `SELECT seen_at > clock_timestamp() - interval '6 s' FROM outbox.relay WHERE instance = 'a'`)
	})
	if owner := r.owner(); owner != "b" {
		t.Errorf("%q owns the outbox after the wake-up", owner)
	}
	if err := b.stop(); err != nil {
		t.Error(err)
	}
	r.owned("a")
	sends("a again")
	l.stop()
	r.drained()
	if err := a.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := a.exits(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	r.verdict(partitions * 20 * (1 + r.config.Relay.Settle.MaxBatchesPerLane))
}
