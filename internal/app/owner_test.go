package app

import (
	"syscall"
	"testing"
	"time"
)

// R1, R7, C10: of two relays on one outbox one is the owner. Stopped cleanly it hands over at once: no waiting for the lease, no quiet time, nothing twice.
func TestCleanStopHandsOverAtOnce_R1_R7_C10(t *testing.T) {
	r := sharedRig(t)
	r.lease(30*time.Second, 2*time.Second, 4*time.Second) // what a hand-over must not wait for
	topic := r.topic("orders", 4, nil)
	l := r.write(150, 30, "", topic)
	a := r.start("a")
	r.owned("a")
	b := r.start("b")
	owners := map[string]string{"a": "b", "b": "a"}
	for i, stopped := range []*runningRelay{a, b} {
		name := string("ab"[i])
		above := r.newest()
		eventually(t, name+" sends", func() bool { return r.sentOf(topic, above) > 50 })
		eventually(t, "the other one stands by", func() bool {
			return ask[int](r, `SELECT count(*) FROM outbox.relay WHERE seen_at > now() - interval '10 s'`) == 2
		})
		if err := stopped.stop(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r.owned(owners[name])
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the hand-over from %s took %v", name, took)
		}
		if quiet := ask[bool](r, `SELECT quiet_until > acquired_at FROM outbox.owner`); quiet {
			t.Error("a clean hand-over made a quiet time")
		}
		if name == "a" {
			r.start("a")
		}
	}
	if n := ask[int](r, `SELECT epoch FROM outbox.owner`); n != 3 {
		t.Errorf("epoch %d after two hand-overs, want 3", n)
	}
	l.stop()
	r.drained()
	r.verdict(0)
}

// R6, C1, C10: when the owner is killed, the standby takes over after the lease and sends nothing before the quiet time is over; a clean hand-over inside
// the quiet time keeps it. Repeats stay within the published bound.
func TestKilledOwnerIsReplacedAndTheQuietTimeIsKept_R6_C1_C10(t *testing.T) {
	r := sharedRig(t)
	c := &r.config.Relay
	r.lease(2*time.Second, 300*time.Millisecond, 8*time.Second)
	r.config.Destinations[0].Kafka.Batch.MaxMessages = 20
	const partitions = 4
	topic := r.topic("orders", partitions, nil)
	l := r.write(200, 30, "", topic)
	a := r.launch("a")
	eventually(t, "a sends", func() bool { return r.sentOf(topic, 0) > 200 })
	b := r.start("b")
	eventually(t, "b stands by", func() bool { return ask[int](r, `SELECT count(*) FROM outbox.relay`) == 2 })
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	r.owned("b")
	if took := time.Since(killed); took > 10*time.Second {
		t.Errorf("the take-over took %v with a lease of %v", took, c.Lease)
	}
	quiet := ask[time.Time](r, `SELECT quiet_until FROM outbox.owner`)
	if lease := ask[time.Duration](r, `SELECT quiet_until - acquired_at FROM outbox.owner`); lease < c.Quarantine-time.Second || lease > c.Quarantine+time.Second {
		t.Errorf("the quiet time is %v, want %v", lease, c.Quarantine)
	}
	r.start("c")
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	r.owned("c")
	if now := ask[time.Time](r, `SELECT clock_timestamp()`); !now.Before(quiet) {
		t.Fatalf("the hand-over came after the quiet time: nothing is shown")
	}
	if again := ask[time.Time](r, `SELECT quiet_until FROM outbox.owner`); !again.Equal(quiet) {
		t.Errorf("the hand-over moved the quiet time from %v to %v", quiet, again)
	}
	above := r.newest()
	eventually(t, "c sends", func() bool { return r.sentOf(topic, above) > 50 })
	l.stop()
	r.drained()
	for _, rec := range r.records(t.Context(), topic) {
		if rec.At.After(killed) && rec.At.Before(quiet.Truncate(time.Millisecond)) {
			t.Fatalf("a record of %v lies between the kill (%v) and the end of the quiet time (%v)", rec.At, killed, quiet)
		}
	}
	r.verdict(partitions * 20 * (1 + c.Settle.MaxBatchesPerLane))
}

// G1, R7: SIGTERM under load ends the program with code 0 and everything in flight settled: the next one starts without a repeat.
func TestSigtermSettlesWhatIsInFlight_G1_R7(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 4, nil)
	l := r.write(300, 30, "", topic)
	for _, name := range []string{"a", "b", "c"} {
		above := r.newest()
		p := r.launch(name)
		eventually(t, name+" sends", func() bool { return r.sentOf(topic, above) > 150 })
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.exits(); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
		if !ask[bool](r, `SELECT released FROM outbox.owner`) {
			t.Error("the lease was not given back")
		}
	}
	l.stop()
	r.start("d")
	r.drained()
	r.verdict(0)
}
