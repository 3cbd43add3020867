package relaytest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// facts reads "a1 a2 b1~": key, n, and ~ for a message without a place in the order.
func facts(text string) (all []Fact) {
	for _, w := range strings.Fields(text) {
		w, unordered := strings.CutSuffix(w, "~")
		all = append(all, Fact{Topic: "t", Key: w[:1], N: int64(w[1] - '0'), Token: w, MessageID: "id-" + w, Sum: Sum{w[0], w[1]}, Unordered: unordered})
	}
	return all
}

// deliveries reads "a1 a2@1 a1!": key, n, lane (0 unless named), and a mark: ! content differs, # message id differs, r replay.
func deliveries(text string) (all []Delivery) {
	offsets := map[string]int64{}
	for _, w := range strings.Fields(text) {
		d := Delivery{Topic: "t", Lane: "0"}
		switch {
		case strings.HasSuffix(w, "!"):
			d.Sum[9] = 1
		case strings.HasSuffix(w, "#"):
			d.MessageID = "other"
		case strings.HasSuffix(w, "r"):
			d.Replay = true
		}
		w = strings.TrimRight(w, "!#r")
		if name, lane, found := strings.Cut(w, "@"); found {
			w, d.Lane = name, lane
		}
		d.Key, d.N, d.Token = w[:1], int64(w[1]-'0'), w
		d.Sum[0], d.Sum[1] = w[0], w[1]
		if d.MessageID == "" {
			d.MessageID = "id-" + w
		}
		d.Offset = offsets[d.Lane]
		offsets[d.Lane]++
		all = append(all, d)
	}
	return all
}

func TestJudge(t *testing.T) {
	bounds := Bounds{Q: 2, Rewinds: 1, Placed: true}
	for _, c := range []struct {
		name, committed, delivered string
		fates                      map[string]Fate
		receipts                   map[string]Place
		aborted                    []string
		bounds                     Bounds
		want                       Verdict // without Written, Stored, Flaws
	}{
		{name: "clean", committed: "a1 a2 b1", delivered: "a1 b1 a2", want: Verdict{Sent: 3}},
		{name: "empty"},
		{name: "I1 lost", committed: "a1 a2", delivered: "a1", want: Verdict{Sent: 2, Lost: 1}},
		{name: "I1 held is not lost", committed: "a1 a2", delivered: "a1", fates: map[string]Fate{"a2": Stuck}, want: Verdict{Sent: 1, Held: 1}},
		{name: "I1 discarded is not lost", committed: "a1 a2", delivered: "a2", fates: map[string]Fate{"a1": GivenUp}, want: Verdict{Sent: 1, Discarded: 1}},
		{name: "I1 pending is not lost", committed: "a1", fates: map[string]Fate{"a1": Waits}, want: Verdict{Pending: 1}},
		{name: "I2 nobody wrote it", committed: "a1", delivered: "a1 z1", want: Verdict{Sent: 1, Phantom: 1}},
		{name: "I2 rolled back", committed: "a1", delivered: "a1 a2", aborted: []string{"a2"}, want: Verdict{Sent: 1, Phantom: 1}},
		{name: "I3 no receipt", committed: "a1 a2", delivered: "a1 a2", receipts: map[string]Place{"a1": {"0", 0}}, want: Verdict{Sent: 2, FalseMarks: 1}},
		{name: "I3 other place", committed: "a1 a2", delivered: "a1 a2", receipts: map[string]Place{"a1": {"0", 0}, "a2": {"0", 7}}, want: Verdict{Sent: 2, FalseMarks: 1}},
		{name: "I3 right place", committed: "a1 a2", delivered: "a1 a2", receipts: map[string]Place{"a1": {"0", 0}, "a2": {"0", -1}}, want: Verdict{Sent: 2}},
		{name: "I4 swapped", committed: "a1 a2 a3", delivered: "a2 a1 a3", want: Verdict{Sent: 3, OutOfOrder: 1}},
		{name: "I4 two behind one", committed: "a1 a2 a3", delivered: "a3 a1 a2", want: Verdict{Sent: 3, OutOfOrder: 2}},
		{name: "I4 other keys do not matter", committed: "a1 a2 b1", delivered: "b1 a1 a2", want: Verdict{Sent: 3}},
		{name: "I4 no order asked", committed: "a1 a2~ a3", delivered: "a2 a1 a3", want: Verdict{Sent: 3}},
		{name: "I4 overtaken while held", committed: "a1 a2", delivered: "a2", fates: map[string]Fate{"a1": Stuck}, want: Verdict{Sent: 1, Held: 1, OutOfOrder: 1}},
		{name: "I4 overtaken while pending", committed: "a1 a2", delivered: "a2", fates: map[string]Fate{"a1": Waits}, want: Verdict{Sent: 1, Pending: 1, OutOfOrder: 1}},
		{name: "I4 let pass", committed: "a1 a2", delivered: "a2", fates: map[string]Fate{"a1": LetPass}, want: Verdict{Sent: 1, Held: 1}},
		{name: "I4 scheduled", committed: "a1~ a2", delivered: "a2", fates: map[string]Fate{"a1": Postponed}, want: Verdict{Sent: 1, Held: 1}},
		{name: "I5 in the window", committed: "a1 a2 a3", delivered: "a1 a2 a3 a2 a3", want: Verdict{Sent: 3, Duplicates: 2}},
		{name: "I5 too far back", committed: "a1 a2 a3", delivered: "a1 a2 a3 a1", want: Verdict{Sent: 3, Duplicates: 1, Rewound: 1}},
		{name: "I5 strict allows the newest", committed: "a1 a2", delivered: "a1 a2 a2", bounds: Bounds{Q: 1, Rewinds: 1}, want: Verdict{Sent: 2, Duplicates: 1}},
		{name: "I5 strict refuses the one before", committed: "a1 a2", delivered: "a1 a2 a1", bounds: Bounds{Q: 1, Rewinds: 1}, want: Verdict{Sent: 2, Duplicates: 1, Rewound: 1}},
		{name: "I6 too many", committed: "a1 a2", delivered: "a1 a2 a1 a2 a2 a2", want: Verdict{Sent: 2, Duplicates: 4, Excess: 2}},
		{name: "I6 none allowed", committed: "a1", delivered: "a1 a1", bounds: Bounds{Q: 9}, want: Verdict{Sent: 1, Duplicates: 1, Excess: 1}},
		{name: "replays are apart", committed: "a1 a2 a3", delivered: "a1 a2 a3 a1r a1r", want: Verdict{Sent: 3}},
		{name: "I7 content", committed: "a1", delivered: "a1!", want: Verdict{Sent: 1, Altered: 1}},
		{name: "I7 second copy", committed: "a1", delivered: "a1 a1!", want: Verdict{Sent: 1, Altered: 1, Duplicates: 1}},
		{name: "I7 message id", committed: "a1", delivered: "a1#", want: Verdict{Sent: 1, Altered: 1}},
		{name: "I8 two lanes", committed: "a1 a2 a3", delivered: "a1@0 a2@1 a3@1", want: Verdict{Sent: 3, Misplaced: 1}},
		{name: "I8 lanes changed", committed: "a1 a2", delivered: "a1@0 a2@1", bounds: Bounds{Q: 1, Rewinds: 1}, want: Verdict{Sent: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.bounds == (Bounds{}) {
				c.bounds = bounds
			}
			got := Judge(Evidence{Committed: facts(c.committed), Aborted: c.aborted, Delivered: deliveries(c.delivered), Fates: c.fates, Receipts: c.receipts}, c.bounds)
			flaws := got.Flaws
			got.Written, got.Stored, got.Flaws = 0, 0, nil
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("\ngot  %s\nwant %s\n%v", &got, &c.want, flaws)
			}
			if want := len(flaws) == 0; got.Green() != want {
				t.Errorf("green is %v with flaws %v", got.Green(), flaws)
			}
		})
	}
}

func TestJudgeRefusesAnOracleThatContradictsItself(t *testing.T) {
	twice := facts("a1 a1")
	same := facts("a1 a2")
	same[1].Token = "a1"
	for name, committed := range map[string][]Fact{"n twice": twice, "token twice": same} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			Judge(Evidence{Committed: committed}, Bounds{})
		})
	}
}

// FuzzJudge compares the one pass with the definitions, written down word by word.
func FuzzJudge(f *testing.F) {
	f.Add([]byte("\x05\x00\x01\x02\x03\x04"), byte(0), byte(2))
	f.Add([]byte("\x07\x00\x02\x01\x02\x09\x21\x05"), byte(0x15), byte(1))
	f.Fuzz(func(t *testing.T, script []byte, fates, q byte) {
		if len(script) == 0 {
			return
		}
		// two keys of four messages each; a script byte names key, n, and whether another lane or content is used
		all := facts("a1 a2 a3 a4 b1 b2 b3~ b4")[:1+int(script[0])%8]
		e := Evidence{Committed: all, Fates: map[string]Fate{}}
		for i, fact := range all {
			if fates>>i&1 == 1 {
				e.Fates[fact.Token] = Fate(1 + (int(fates)+i)%5)
			}
		}
		for i, b := range script[1:min(len(script), 40)] {
			d := deliveries([]string{"a1", "a2", "a3", "a4", "b1", "b2", "b3", "b4"}[b%8])[0]
			d.Offset = int64(i)
			if b&0x40 != 0 {
				d.Lane = "1"
			}
			if b&0x80 != 0 {
				d.Sum[5] = 1
			}
			e.Delivered = append(e.Delivered, d)
		}
		bounds := Bounds{Q: int(q % 5), Rewinds: int(q / 5 % 3), Placed: q&0x80 != 0}
		got, want := Judge(e, bounds), naive(e, bounds)
		got.Flaws = nil
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("\ngot  %s\nwant %s\n%v", &got, &want, e)
		}
	})
}

func naive(e Evidence, bounds Bounds) Verdict {
	v := Verdict{Written: len(e.Committed), Stored: len(e.Delivered)}
	places := func(token string) (at []int) {
		for i, d := range e.Delivered {
			if d.Token == token {
				at = append(at, i)
			}
		}
		return at
	}
	known := map[string]bool{}
	for _, f := range e.Committed {
		known[f.Token] = true
	}
	for _, d := range e.Delivered {
		if !known[d.Token] {
			v.Phantom++
		}
	}
	repeats, keys := map[string]int{}, []string{}
	for _, f := range e.Committed {
		if !slices.Contains(keys, f.Key) {
			keys = append(keys, f.Key)
		}
		at := places(f.Token)
		// the highest n of the key that was stored before place i
		high := func(i int) (h int64) {
			for _, other := range e.Committed {
				if o := places(other.Token); other.Key == f.Key && !other.Unordered && len(o) > 0 && o[0] < i {
					h = max(h, other.N)
				}
			}
			return h
		}
		for _, i := range at {
			if e.Delivered[i].Sum != f.Sum {
				v.Altered++
			}
		}
		if len(at) > 1 {
			v.Duplicates += len(at) - 1
			repeats[f.Key] += len(at) - 1
			for _, i := range at[1:] {
				if !f.Unordered && high(i)-f.N >= int64(bounds.Q) {
					v.Rewound++
				}
			}
		}
		if len(at) > 0 && !f.Unordered && high(at[0]) > f.N {
			v.OutOfOrder++
		}
		switch fate := e.Fates[f.Token]; fate {
		case 0:
			v.Sent++
			if len(at) == 0 {
				v.Lost++
			}
		case Waits:
			v.Pending++
		case GivenUp:
			v.Discarded++
		default:
			v.Held++
		}
		if fate := e.Fates[f.Token]; (fate == Waits || fate == Stuck) && len(at) == 0 && !f.Unordered && high(len(e.Delivered)) > f.N {
			v.OutOfOrder++
		}
	}
	for _, key := range keys {
		v.Excess += max(0, repeats[key]-bounds.Q*bounds.Rewinds)
		lanes := map[string]bool{}
		for _, f := range e.Committed {
			for _, i := range places(f.Token) {
				if f.Key == key && !f.Unordered {
					lanes[e.Delivered[i].Lane] = true
				}
			}
		}
		if bounds.Placed && len(lanes) > 1 {
			v.Misplaced++
		}
	}
	return v
}

// BenchmarkJudge prints how many deliveries a second the one pass takes.
func BenchmarkJudge(b *testing.B) {
	const n, keys = 200_000, 1_000
	var e Evidence
	for i := range n {
		key, at := fmt.Sprint("k", i%keys), int64(i/keys+1)
		token := fmt.Sprintf("%s-%d", key, at)
		e.Committed = append(e.Committed, Fact{Topic: "t", Key: key, N: at, Token: token})
		e.Delivered = append(e.Delivered, Delivery{Topic: "t", Key: key, N: at, Token: token, Lane: "0", Offset: int64(i)})
	}
	for b.Loop() {
		if v := Judge(e, Bounds{Q: 1}); !v.Green() {
			b.Fatal(&v)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
}
