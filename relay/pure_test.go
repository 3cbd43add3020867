package relay

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestRoutesFirstMatchWins(t *testing.T) {
	router, err := NewRouter([]Route{
		{Name: "eu", Topic: "payment.*", Headers: map[string][]string{"region": {"eu", "uk"}}, Destination: "a", Target: "pay.{type}"},
		{Name: "clicks", Topic: "click.*.done", Destination: "b", Target: "{topic}-{header.shard}"},
		{Name: "exact", Topic: "order", Destination: "c"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		topic, region, want string
	}{
		{"payment.captured", "eu", "eu → pay.T"},
		{"payment.", "uk", "eu → pay.T"},
		{"payment.captured", "us", "none"},
		{"click.x.done", "7", "clicks → click.x.done-7"},
		{"click..done", "7", "clicks → click..done-7"},
		{"click.done", "7", "none"},
		{"order", "", "exact → order"},
		{"orders", "", "none"},
	} {
		m := &Message{Topic: c.topic, Type: "T", Headers: []Header{{"region", c.region}, {"shard", c.region}}}
		got := "none"
		if r := router.Find(m); r != nil {
			got = r.Name + " → " + m.Target
		}
		if got != c.want {
			t.Errorf("%s region %s: %s, want %s", c.topic, c.region, got, c.want)
		}
	}
	for _, bad := range []string{"{", "x{", "{nothing}", "{header.}", "{topic"} {
		if _, err := NewRouter([]Route{{Name: "r", Destination: "d", Target: bad}}); err == nil {
			t.Errorf("template %q was accepted", bad)
		}
	}
}

func TestRunsNeverCoverAGap(t *testing.T) {
	got := runs([]ID{5, 3, 4, 9, 7, 1}, nil)
	if want := []Run{{1, 1}, {3, 5}, {7, 7}, {9, 9}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		in := map[ID]bool{}
		var ids []ID
		for range rnd.IntN(50) {
			if id := ID(rnd.IntN(80)); !in[id] {
				in[id] = true
				ids = append(ids, id)
			}
		}
		n := 0
		for _, r := range runs(ids, nil) {
			for id := r.Lo; id <= r.Hi; id++ {
				n++
				if !in[id] {
					t.Fatalf("run %v covers %d, which was not acked", r, id)
				}
			}
		}
		if n != len(in) {
			t.Fatalf("runs cover %d ids of %d", n, len(in))
		}
	}
}

func TestReceiptsSplit(t *testing.T) {
	l := Lane{Topic: "t", Index: 3}
	at := func(offsets ...int64) (p []Position) {
		for _, o := range offsets {
			p = append(p, Position{Offset: o, HasOffset: o >= 0})
		}
		return p
	}
	batch := func(ids ...ID) (b []*Message) {
		for _, id := range ids {
			b = append(b, &Message{ID: id})
		}
		return b
	}
	for _, c := range []struct {
		name  string
		batch []*Message
		at    []Position
		want  string
	}{
		{"one run", batch(1, 2, 9), at(5, 6, 7), "5:[1 2 9]"},
		{"a row out of a hole", batch(10, 11, 4, 5), at(5, 6, 7, 8), "5:[10 11] 7:[4 5]"},
		{"offsets jump", batch(1, 2, 3), at(5, 6, 9), "5:[1 2] 9:[3]"},
		{"no offsets", batch(1, 2, 3), at(-1, -1, -1), "-1:[1 2 3]"},
		{"offset known for some", batch(1, 2), at(-1, 4), "-1:[1] 4:[2]"},
		{"too wide", batch(1, MaxReceiptSpan, MaxReceiptSpan+1), at(0, 1, 2), fmt.Sprintf("0:[1 %d] 2:[%d]", MaxReceiptSpan, MaxReceiptSpan+1)},
	} {
		got := ""
		for i, r := range receipts("d", l, c.batch, c.at, nil) {
			if i > 0 {
				got += " "
			}
			got += fmt.Sprintf("%d:%v", r.FirstOffset, r.IDs)
			if r.Destination != "d" || r.Lane != "t/3" {
				t.Errorf("%s: receipt for %s %s", c.name, r.Destination, r.Lane)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// R22: two lanes, or the only active one, or an outcome that speaks of the whole destination; never a single lane beside healthy ones.
func TestBreakerOpens(t *testing.T) {
	now := time.Unix(0, 0)
	lane := func(i int32) Lane { return Lane{Topic: "t", Index: i} }
	one := Outcome{Kind: Unavailable, Scope: ScopeLane}
	all := Outcome{Kind: Unavailable}
	timeout := Outcome{Kind: Unknown}
	for _, c := range []struct {
		name string
		do   func(b *breaker) bool
		want bool
	}{
		{"one lane of two, however often", func(b *breaker) (open bool) {
			for range 50 {
				open = b.fail(lane(1), one, 2, now)
			}
			return open
		}, false},
		{"two lanes, three failures", func(b *breaker) bool {
			return b.fail(lane(1), one, 2, now) || b.fail(lane(2), one, 2, now) || b.fail(lane(1), one, 2, now)
		}, true},
		{"an ack between begins a new row", func(b *breaker) bool {
			open := b.fail(lane(1), one, 2, now) || b.fail(lane(2), one, 2, now)
			b.alive()
			return open || b.fail(lane(1), one, 2, now)
		}, false},
		{"the only active lane", func(b *breaker) bool { return thrice(b, lane(1), one, 1) }, true},
		{"a black hole answers with time-outs", func(b *breaker) bool {
			return b.fail(lane(1), timeout, 3, now) || b.fail(lane(2), timeout, 3, now) || b.fail(lane(3), timeout, 3, now)
		}, true},
		{"the whole destination", func(b *breaker) bool { return thrice(b, lane(1), all, 9) }, true},
		{"two failures are not enough", func(b *breaker) bool { return b.fail(lane(1), all, 1, now) || b.fail(lane(2), all, 1, now) }, false},
	} {
		b := &breaker{openAfter: 3, initial: time.Second, ceiling: time.Minute}
		if got := c.do(b); got != c.want || b.open != c.want {
			t.Errorf("%s: opened %v, open %v, want %v", c.name, got, b.open, c.want)
		}
	}
}

func thrice(b *breaker, l Lane, o Outcome, active int) (open bool) {
	for range 3 {
		open = b.fail(l, o, active, time.Unix(0, 0))
	}
	return open
}

func TestBreakerProbesInTurn(t *testing.T) {
	now := time.Unix(0, 0)
	b := &breaker{openAfter: 1, initial: time.Second, ceiling: time.Minute}
	one, two := &lane{open: []*Message{{}}}, &lane{open: []*Message{{}}}
	b.fail(Lane{Index: 1}, Outcome{Kind: Unavailable}, 1, now)
	if ok, wait := b.probe(one, now); ok || wait <= 0 {
		t.Fatalf("a probe at once: %v, wait %v", ok, wait)
	}
	now = now.Add(time.Minute)
	if ok, _ := b.probe(two, now); ok {
		t.Fatal("the second lane probes although it is the first one's turn")
	}
	if ok, _ := b.probe(one, now); !ok {
		t.Fatal("no probe after the pause")
	}
	if ok, _ := b.probe(one, now); ok {
		t.Fatal("two probes at once")
	}
	b.probeFailed(two, false, now)
	now = now.Add(time.Minute)
	if ok, _ := b.probe(one, now); ok {
		t.Fatal("the first lane probes again although it is the second one's turn")
	}
	if ok, _ := b.probe(two, now); !ok {
		t.Fatal("the second lane may not probe")
	}
	one.fails, two.fails = 1, 1
	b.probeFailed(two, false, now)
	now = now.Add(time.Minute)
	fresh := &lane{open: one.open}
	if ok, _ := b.probe(fresh, now); !ok || b.turn != fresh {
		t.Fatal("a lane that never failed waits behind one that did")
	}
	for range 20 {
		b.probeFailed(fresh, true, now)
		if wait := b.probeAt.Sub(now); wait > 4*b.initial {
			t.Fatalf("%v until the next probe, although a living broker answers", wait)
		}
	}
	if !b.alive() || b.open {
		t.Fatal("an answer does not close the breaker")
	}
}

// B4: a back-off saturates at its cap, for any number of tries.
func TestBackoffSaturates(t *testing.T) {
	for _, n := range []int{0, 1, 5, 39, 40, 63, 64, 1000, 1 << 40} {
		for range 100 {
			if d := backoff(n, 500*time.Millisecond, 5*time.Minute); d <= 0 || d > 5*time.Minute || n == 0 && d > 500*time.Millisecond {
				t.Fatalf("try %d: %s", n, d)
			}
		}
	}
	if d := backoff(3, time.Hour, time.Second); d > time.Second {
		t.Errorf("an initial pause above the cap: %s", d)
	}
}

func TestPace(t *testing.T) {
	now := time.Unix(0, 0)
	p := pace{busy: 2 * time.Millisecond, idle: 250 * time.Millisecond}
	want := func(what string, got, want step) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	want("rows and more", p.next(true, true, now), step{})
	want("rows", p.next(true, false, now), step{})
	want("empty: arm, and read once more", p.next(false, false, now), step{arm: true})
	want("still empty: sleep", p.next(false, false, now), step{wait: 250 * time.Millisecond, wake: true})
	want("woken with rows: nobody needs to wake us", p.next(true, false, now), step{calm: true})
	for range 40 {
		now = now.Add(10 * time.Millisecond)
		p.next(true, false, now)
	}
	want("a steady trickle: not at once after the rows that there were", p.next(true, false, now), step{wait: 2 * time.Millisecond})
	want("a steady trickle, and nothing came", p.next(false, false, now), step{wait: 2 * time.Millisecond})
	want("nor now", p.next(false, false, now), step{wait: 4 * time.Millisecond})
	want("nor again", p.next(false, false, now), step{wait: 8 * time.Millisecond})
	want("the pause grows no more", p.next(false, false, now), step{wait: 8 * time.Millisecond})
	want("it is short again behind rows", p.next(true, false, now), step{wait: 2 * time.Millisecond})
	want("more rows than one read takes", p.next(true, true, now), step{})
	now = now.Add(2 * time.Second)
	want("it has ended", p.next(false, false, now), step{arm: true})
}

// A drain is one burst, however many pages it has.
func TestPaceOfADrain(t *testing.T) {
	now := time.Unix(0, 0)
	p := pace{busy: 2 * time.Millisecond, idle: 250 * time.Millisecond}
	for range 1000 {
		if st := p.next(true, true, now); st != (step{}) {
			t.Fatalf("%+v", st)
		}
	}
	if st := p.next(true, false, now); st != (step{}) {
		t.Errorf("its last page: %+v", st)
	}
}

func TestNormaliseGroupsOneReason(t *testing.T) {
	same := [][]string{
		{"message of 1421003 bytes over limit 1048588", "message of 99 bytes over limit 7"},
		{`topic "order.paid" is missing`, `topic "x" is missing`},
		{"dial 10.0.0.1:9092 refused", "dial kafka-1:9093 refused"},
		{"id 6f1c0b0b-202b-2629-f480-a4ede8310897 twice", "id 00000000-202b-2629-f480-a4ede8310897 twice"},
	}
	for _, pair := range same {
		if a, b := Normalise(pair[0]), Normalise(pair[1]); a != b {
			t.Errorf("%q and %q: %q, %q", pair[0], pair[1], a, b)
		}
	}
	if Normalise("refused by policy") == Normalise("refused by quota") {
		t.Error("two reasons are one")
	}
	f := &Failure{Class: ClassTooLarge, Text: "message of 1 byte"}
	if fingerprint("a", f) == fingerprint("b", f) || fingerprint("a", f) == 0 {
		t.Error("fingerprints of two destinations are the same, or 0")
	}
}

// R15: acks of a key are a prefix, and nothing is dead while an older message of its key is undecided.
func TestSortOutcomes(t *testing.T) {
	m := func(id ID, key string) *Message { return &Message{ID: id, Topic: "t", Key: key} }
	batch := []*Message{m(1, "a"), m(2, "b"), m(3, "a"), m(4, ""), m(5, "b"), m(6, "c")}
	ack, un, rej := Outcome{Kind: Acked}, Outcome{Kind: Unknown}, Outcome{Kind: Rejected}
	away := Outcome{Kind: Unavailable, Scope: ScopeLane}
	ids := func(ms []*Message) (out []ID) {
		for _, m := range ms {
			out = append(out, m.ID)
		}
		return out
	}
	for _, c := range []struct {
		name                   string
		outcomes               []Outcome
		acked, rejected, again []ID
		fault                  Kind
	}{
		{"all acked", []Outcome{ack, ack, ack, ack, ack, ack}, []ID{1, 2, 3, 4, 5, 6}, nil, nil, Unknown},
		{"a hole of key a", []Outcome{un, ack, ack, ack, ack, ack}, []ID{2, 4, 5, 6}, nil, []ID{1, 3}, Unknown},
		{"poison", []Outcome{ack, rej, ack, ack, away, ack}, []ID{1, 3, 4, 6}, []ID{2}, []ID{5}, Unavailable},
		{"poison behind a hole waits", []Outcome{un, ack, rej, ack, ack, ack}, []ID{2, 4, 5, 6}, nil, []ID{1, 3}, Unknown},
		{"unknown outweighs unavailable", []Outcome{away, un, away, away, away, away}, nil, nil, []ID{1, 2, 3, 4, 5, 6}, Unknown},
	} {
		a := sortOutcomes(batch, c.outcomes)
		if !reflect.DeepEqual(ids(a.acked), c.acked) || !reflect.DeepEqual(ids(a.rejected), c.rejected) || !reflect.DeepEqual(ids(a.rest), c.again) || a.fault.Kind != c.fault {
			t.Errorf("%s: acked %v rejected %v again %v fault %v", c.name, ids(a.acked), ids(a.rejected), ids(a.rest), a.fault.Kind)
		}
	}
}

func TestOptionsReportEveryProblem(t *testing.T) {
	o := Defaults()
	o.Lease, o.Quarantine, o.ReadRows = 8*time.Second, time.Second, 0
	o.Destinations = []Destination{{}, {Name: "a"}, {Name: "a"}}
	o.Routes = []Route{{Name: "r", Destination: "nobody", Target: "{x}"}}
	err := o.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	if n := len(err.(interface{ Unwrap() []error }).Unwrap()); n < 10 {
		t.Errorf("%d problems:\n%v", n, err)
	}
	ok := Defaults()
	if err := ok.Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
