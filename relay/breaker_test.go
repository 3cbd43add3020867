package relay

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Random answers of random lanes: the breaker opens when, and only when, a plain count of them says so; one probe is out at a time; the pauses before probes
// keep to their bounds, so that they never come in a storm.
func TestBreakerUnderRandomAnswers_K2(t *testing.T) {
	const openAfter, initial, ceiling = 3, 250 * time.Millisecond, 30 * time.Second
	opened, probed := 0, 0
	for seed := range uint64(1000) {
		rnd := rand.New(rand.NewPCG(seed, 41))
		lanes := make([]*lane, 1+rnd.IntN(4))
		for i := range lanes {
			lanes[i] = &lane{id: Lane{Topic: "t", Index: int32(i)}, open: []*Message{{}}}
		}
		b := &breaker{openAfter: openAfter, initial: initial, ceiling: ceiling}
		now := time.Unix(0, 0)
		failures, failed, whole := 0, map[int]bool{}, false // since the last ack
		var probing *lane
		tries := 0 // probes that failed since it opened
		for range 300 {
			now = now.Add(time.Duration(rnd.Int64N(int64(2 * time.Second))))
			i := rnd.IntN(len(lanes))
			o := Outcome{Kind: Unavailable, Scope: ScopeLane}
			switch rnd.IntN(6) {
			case 0:
				o.Scope = ScopeDestination
			case 1, 2:
				o = Outcome{Kind: Unknown}
			}
			if b.open {
				ok, wait := b.probe(lanes[i], now)
				if ok && (probing != nil || now.Before(b.probeAt)) || !ok && wait == 0 {
					t.Fatalf("seed %d: a probe beside another or too early, wait %v", seed, wait)
				}
				if limit := min(initial<<min(tries, 20), ceiling); wait > limit {
					t.Fatalf("seed %d: %v until the probe after %d, at most %v", seed, wait, tries, limit)
				}
				if ok {
					probing = lanes[i]
					probed++
				}
				if probing != nil && rnd.IntN(2) == 0 {
					if rnd.IntN(3) > 0 {
						living := rnd.IntN(3) == 0
						b.probeFailed(lanes[rnd.IntN(len(lanes))], living, now)
						if tries++; living {
							tries = min(tries, 2)
						}
					} else if failures, failed, whole = 0, map[int]bool{}, false; !b.alive() {
						t.Fatalf("seed %d: an answer does not close it", seed)
					}
					probing = nil
				}
				continue
			}
			if rnd.IntN(4) == 0 {
				failures, failed, whole = 0, map[int]bool{}, false
				if b.alive() {
					t.Fatalf("seed %d: it closed and was not open", seed)
				}
				continue
			}
			failures, failed[i] = failures+1, true
			whole = o.Kind == Unavailable && o.Scope == ScopeDestination
			want := failures >= openAfter && (whole || len(failed) >= 2 || len(lanes) == 1)
			if got := b.fail(lanes[i].id, o, len(lanes), now); got != want || b.open != want {
				t.Fatalf("seed %d: opened %v after %d failures of %d lanes of %d, want %v", seed, got, failures, len(failed), len(lanes), want)
			}
			if want {
				opened, tries = opened+1, 0
			}
		}
	}
	if opened < 1000 || probed < 10_000 {
		t.Errorf("opened %d times, %d probes: this shows little", opened, probed)
	}
}

// Whatever becomes of a probe, another one follows: its only message is set aside because its key was closed meanwhile, or the broker waits for our own settlements.
func TestEveryProbeIsFollowedByAnother(t *testing.T) {
	for name, c := range map[string]struct {
		answer Outcome
		closes bool
	}{
		"unreachable":         {Outcome{Kind: Unavailable}, false},
		"unknown":             {Outcome{Kind: Unknown}, false},
		"full":                {Outcome{Kind: Unavailable, Full: true}, false},
		"closed, unreachable": {Outcome{Kind: Unavailable}, true},
		"closed, unknown":     {Outcome{Kind: Unknown}, true},
	} {
		f, l := shutFlow(0, "a", "b")
		l.dest.Capabilities = Capabilities{MaxBatch: 1, MaxBytes: 1 << 20}
		now := time.Now()
		b := &l.dest.breaker
		b.open, b.probeAt = true, now
		batch, _, _ := f.take(l, true, now)
		if len(batch) != 1 || !b.probing {
			t.Fatalf("%s: no probe", name)
		}
		if c.closes {
			k, _ := batch[0].OrderKey()
			f.keys.close(k, 77) // its head failed at another destination
			f.shut(k)
		}
		f.resolve(l, []Outcome{c.answer}, 0, now)
		if !b.open || b.probing {
			t.Errorf("%s: open %v, probing %v", name, b.open, b.probing)
		}
		later := now.Add(2 * b.ceiling)
		if next, _, wait := f.take(l, true, later); c.answer.Kind == Unavailable && len(next) != 1 {
			t.Errorf("%s: no other probe, wait %v", name, wait)
		}
	}
}
