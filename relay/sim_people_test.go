package relay_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

// TestSimulationOfPeople lets messages be refused and time out while people retry, skip and discard, hold locks, and crashes happen. In the end what was
// refused passes, every dead message is retried, and all must be there: every key whole and in order, but for what a person let pass. A failure prints its
// seed: go test ./relay -run TestSimulationOfPeople -sim.first=SEED -sim.seeds=1
func TestSimulationOfPeople(t *testing.T) {
	eachSeed(t, simulatePeople)
}

func simulatePeople(t *testing.T, seed int64) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 19))
	w := newWorld(t, relaytest.BrokerConfig{Lanes: 1 + rnd.IntN(3), Dedupes: true, People: true, MaxBatch: 1 + rnd.IntN(6)})
	w.rand = rnd
	w.opt.ReadRows, w.opt.Ahead = 2+rnd.IntN(10), 8+rnd.IntN(30)
	w.opt.Routes[0].Retry = relay.Retry{Initial: 20 * time.Millisecond, Cap: 2 * time.Second, MaxAttempts: 2 + rnd.IntN(3), MaxAge: time.Hour}
	w.opt.Routes[0].SkipDead = rnd.IntN(4) == 0
	aside := rnd.IntN(3) == 0   // a header sends half of each key to another topic: the key keeps its order in each
	two := aside && seed%2 == 0 // D19: at another destination, which is down now and then
	var gone atomic.Bool
	if aside {
		other := w.opt.Routes[0]
		other.Name, other.Headers, other.Target = "other", map[string][]string{"to": {"u"}}, "u"
		if two {
			other.Destination = "e"
		}
		w.opt.Routes = []relay.Route{other, w.opt.Routes[0]}
	}
	w.broker.Poison(func(m *relay.Message) bool { return strings.HasPrefix(string(m.Payload), "poison") })
	hang := rand.New(rand.NewPCG(uint64(seed), 20))
	w.broker.Script(func(call relaytest.Call) relaytest.Answer {
		if call.Lane.Topic == "u" && gone.Load() {
			return relaytest.Refuse(relaytest.Unreachable)
		}
		if hang.IntN(3) == 0 {
			return refuseAndLose(call.Batch)
		}
		if call.Lane.Index == 0 && hang.IntN(3) == 0 {
			return relaytest.LoseBatch() // one lane that often times out, beside healthy ones
		}
		return relaytest.Answer{}
	})
	w.start()
	var unlock []func()
	for n := range 40 + rnd.IntN(40) {
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
		tx := w.db.Begin()
		for j := range 1 + rnd.IntN(6) {
			name := "ok"
			if rnd.IntN(12) == 0 {
				name = "poison"
			}
			m := relay.Message{Topic: "t", Key: fmt.Sprintf("k%d", rnd.IntN(5)), Payload: fmt.Appendf(nil, "%s-%d-%d", name, n, j)}
			if aside && rnd.IntN(2) == 0 {
				m.Headers = []relay.Header{{Name: "to", Value: "u"}}
				m.Payload = append(m.Payload, toOther...)
			}
			tx.Write(m)
		}
		_ = tx.Commit()
		if two {
			gone.Store(n%10 < 4)
		}
		unlock = w.person(unlock)
		if rnd.IntN(25) == 0 {
			w.db.Crash()
			w.db.Up()
		}
		if rnd.IntN(10) == 0 {
			w.stores[0].Fail(relaytest.OpRenew, 20, context.DeadlineExceeded)
		}
	}
	for _, f := range unlock {
		f()
	}
	w.broker.Poison(nil)
	w.broker.Script(nil)
	w.resume()
	w.await("drained", 30*time.Minute, func() bool {
		w.retryDead()
		return len(w.db.Pending()) == 0 && len(w.db.HeldRows()) == 0
	})
	w.stopAll()
	e := relaytest.EvidenceOf(w.db, w.broker)
	for i := range e.Committed {
		e.Committed[i].Key += side(e.Committed[i].Token)
	}
	for i := range e.Delivered {
		e.Delivered[i].Key += side(e.Delivered[i].Token)
	}
	v := relaytest.Judge(e, relaytest.Bounds{Q: 100, Rewinds: 100, Placed: true})
	for _, f := range v.Flaws {
		t.Errorf("%s", f)
	}
	if !v.Green() || v.Pending > 0 {
		t.Errorf("%s", &v)
	}
}

// toOther ends the payload of a message whose header sends it to the other topic.
const toOther = " to u"

func side(token string) string {
	if strings.HasSuffix(token, toOther) {
		return toOther
	}
	return ""
}

// refuseAndLose is one call that refuses the poison of a batch and loses the rest, but for what is not sent behind the poison of its key.
func refuseAndLose(batch []*relay.Message) relaytest.Answer {
	refused := map[relay.Key]bool{}
	return relaytest.Each(func(_ int, m *relay.Message) relay.Outcome {
		key, _ := m.OrderKey()
		switch {
		case refused[key]:
			return relaytest.BehindIt
		case strings.HasPrefix(string(m.Payload), "poison"):
			refused[key] = true
			return relaytest.Poisoned
		}
		return relay.Outcome{Kind: relay.Unknown, Class: relay.ClassTimeout, Code: "test/TIMEOUT"}
	})
}

// person acts on some held message, locks one for a while, or pauses the destination.
func (w *world) person(unlock []func()) []func() {
	switch w.rand.IntN(12) {
	case 0:
		_ = w.db.Pause("d", "sim")
	case 1, 2:
		w.resume()
	}
	held := w.db.HeldRows()
	if len(held) == 0 {
		return unlock
	}
	id := held[w.rand.IntN(len(held))].ID
	switch w.rand.IntN(10) {
	case 0:
		_, _ = w.db.Discard(id)
	case 1:
		_, _ = w.db.Skip(id)
	case 2, 3:
		_, _ = w.db.Retry(id)
	case 4:
		return append(unlock, w.db.Lock(id))
	default:
		if len(unlock) > 0 {
			unlock[0]()
			return unlock[1:]
		}
	}
	return unlock
}

func (w *world) retryDead() {
	for _, h := range w.db.HeldRows() {
		if h.State == relay.Dead {
			_, _ = w.db.Retry(h.ID)
		}
	}
}
