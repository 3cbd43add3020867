package modelcheck

import (
	"fmt"
	"testing"
)

func (b bounds) String() string {
	text := fmt.Sprintf("terms %d, entries %d, crashes %d, torn frames %d, lost frames %d", b.terms, b.entries, b.deaths[inOrder], b.deaths[torn], b.deaths[loss])
	if b.oneTears {
		text += ", torn at node 0 only"
	}
	if b.exact {
		text += ", exact"
	}
	return text
}

// suspectBounds are the walks of the whole rule. Those that are wide visit some ten million states.
var suspectBounds = []struct {
	bounds
	wide bool
}{
	{bounds: bounds{terms: 2, entries: 1, deaths: deaths{1, 0, 1}}},
	{bounds: bounds{terms: 2, entries: 1, deaths: deaths{0, 1, 1}}},
	{bounds: bounds{terms: 2, entries: 1, deaths: deaths{0, 0, 2}}},
	{bounds: bounds{terms: 1, entries: 1, deaths: deaths{2, 2, 0}}},
	{bounds: bounds{terms: 2, entries: 1, deaths: deaths{0, 0, 1}, exact: true}},
	{bounds: bounds{terms: 3, entries: 1, deaths: deaths{0, 0, 1}}},
	{wide: true, bounds: bounds{terms: 2, entries: 1, deaths: deaths{1, 1, 1}, oneTears: true}},
	{wide: true, bounds: bounds{terms: 2, entries: 1, deaths: deaths{1, 0, 1}, exact: true}},
	{wide: true, bounds: bounds{terms: 2, entries: 1, deaths: deaths{2, 0, 1}}},
	{wide: true, bounds: bounds{terms: 2, entries: 1, deaths: deaths{1, 1, 1}}},
	{wide: true, bounds: bounds{terms: 2, entries: 1, deaths: deaths{0, 3, 0}}},
	{wide: true, bounds: bounds{terms: 2, entries: 1, deaths: deaths{1, 0, 2}}},
	{wide: true, bounds: bounds{terms: 2, entries: 2, deaths: deaths{1, 0, 1}}},
	{wide: true, bounds: bounds{terms: 3, entries: 1, deaths: deaths{1, 0, 1}}},
	{wide: true, bounds: bounds{terms: 3, entries: 2, deaths: deaths{0, 0, 1}}},
}

// No state within the bounds breaks an invariant, and from each of them a leader can come.
func TestSuspectRule(t *testing.T) {
	for _, row := range suspectBounds {
		if row.wide && !*wide {
			continue
		}
		t.Run(row.bounds.String(), func(t *testing.T) {
			sys, rec := rules{bounds: row.bounds}.system()
			var seen sights
			broken := sys.broken
			sys.broken = func(c cluster) string { seen.look(&c); return broken(c) }
			e := explore(sys, mostStates)
			t.Logf("%v; a leader can come from %d of %d states without messages, the others wait for a person", e, rec.count(heals), len(rec.known))
			if e.broken != "" || !e.whole {
				t.Fatalf("%v: %s\n%s", e, e.broken, e.lines())
			}
			seen.check(t, row.bounds)
		})
	}
}

// sights are things that a walk must have come across, else it has shown nothing.
type sights struct {
	committed, elected, barred, cleared, away, back bool
}

func (s *sights) look(c *cluster) {
	n := &c.nodes[0]
	s.committed = s.committed || c.committed[0] != 0
	s.elected = s.elected || c.led > 1<<1
	s.barred = s.barred || n.memory.mark == barred && n.disk.log.last().less(n.memory.bar)
	s.cleared = s.cleared || c.deaths[torn]+c.deaths[loss] > 0 && n.memory.mark == unmarked && n.role != away
	s.away = s.away || n.role == away
	s.back = s.back || c.deaths == deaths{0, 0, 1} && n.memory.vote == spent && n.memory.mark == unmarked
}

func (s *sights) check(t *testing.T, b bounds) {
	t.Helper()
	want := sights{committed: true, elected: b.terms > 1, barred: true, cleared: true, away: b.deaths[loss] > 0, back: b.deaths[loss] > 0}
	if *s != want {
		t.Errorf("seen: %+v, want %+v", *s, want)
	}
}

// Each part of the rule that is left out breaks something.
func TestSuspectRuleNeedsEachPart(t *testing.T) {
	small := bounds{terms: 2, entries: 1, deaths: deaths{1, 0, 1}}
	for _, row := range []struct {
		without string
		rules
		broken invariant
	}{
		{"mark missing", rules{bounds: small, noMark: true}, twoLeaders},
		{"mark not durable", rules{bounds: small, markInMemory: true}, twoLeaders},
		{"no bar", rules{bounds: small, noBar: true}, lost},
		{"the vote in the term told is not spent", rules{bounds: small, noVoteSpent: true}, twoLeaders},
		{"one peer asked", rules{bounds: small, onePeer: true}, twoLeaders},
		{"one round of questions", rules{bounds: small, oneRound: true}, lost},
		{"no comparison of synced seqs", rules{bounds: small, noCompare: true}, lost},
		{"tells the seq of its roll", rules{bounds: small, tellsRoll: true}, lost},
		{"tells an old seq after a second crash below the bar", rules{bounds: bounds{terms: 1, entries: 1, deaths: deaths{2, 2, 0}}, keepsOldSeq: true}, stuck},
		{"answers not bound to opens", rules{bounds: bounds{terms: 2, entries: 1, deaths: deaths{0, 1, 1}, oneTears: true}, unbound: true}, twoLeaders},
		{"older connections live on", rules{bounds: small, oldFrames: true}, lost},
		{"a vote is asked for before the campaign is synced", rules{bounds: bounds{terms: 2, entries: 1, deaths: deaths{1, 0, 0}}, sendsFirst: true}, twoLeaders},
		{"follows while silent", rules{bounds: small, followsSilent: true}, lost},
		{"does not ask again below the bar", rules{bounds: bounds{terms: 2, entries: 1, deaths: deaths{0, 1, 1}}, asksOnce: true}, stuck},
	} {
		t.Run(row.without, func(t *testing.T) {
			sys, _ := row.rules.system()
			e := explore(sys, mostStates)
			if e.broken != invariants[row.broken] {
				t.Fatalf("%v: %q, want %q", e, e.broken, invariants[row.broken])
			}
			t.Logf("%s, after %d states (%v):\n%s", e.broken, e.states, row.bounds, e.lines())
		})
	}
}

// Within the bounds it does no harm to keep the answer of a peer when the other one restarts before it has answered.
func TestSuspectMayGoOnAsking(t *testing.T) {
	r := rules{bounds: bounds{terms: 2, entries: 1, deaths: deaths{1, 0, 1}}, goesOn: true}
	sys, _ := r.system()
	e := explore(sys, mostStates)
	t.Log(e)
	if e.broken != "" || !e.whole {
		t.Errorf("%v: %s\n%s", e, e.broken, e.lines())
	}
}
