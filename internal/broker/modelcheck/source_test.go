package modelcheck

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

func (r sourceRules) String() string {
	return fmt.Sprintf("owners %d, requests %d, crashes of the database %d, leaders %d", r.epochs, r.seqs, r.faults.databases, r.faults.leaders)
}

// sourceBounds are the walks with all rules. Those that are wide visit some ten million states.
var sourceBounds = []struct {
	sourceRules
	wide bool
}{
	{sourceRules: sourceRules{epochs: 1, seqs: 6}},
	{sourceRules: sourceRules{epochs: 2, seqs: 3}},
	{sourceRules: sourceRules{epochs: 2, seqs: 2, faults: faults{1, 1}}},
	{wide: true, sourceRules: sourceRules{epochs: 1, seqs: 8}},
	{wide: true, sourceRules: sourceRules{epochs: 2, seqs: 3, faults: faults{1, 1}}},
	{wide: true, sourceRules: sourceRules{epochs: 2, seqs: 4}},
	{wide: true, sourceRules: sourceRules{epochs: 3, seqs: 2, faults: faults{1, 0}}},
}

// Nothing is stored twice, nothing is marked and was never stored, keys keep their order, and everything can be sent, from every state within the bounds.
func TestSource(t *testing.T) {
	for _, row := range sourceBounds {
		if row.wide && !*wide {
			continue
		}
		t.Run(row.String(), func(t *testing.T) {
			m := row.model()
			e := explore(m.system(), mostStates)
			answers := m.answers()
			t.Logf("%v; the state machine has answered %d different requests: %v", e, len(m.stored), answers)
			if e.broken != "" || !e.whole {
				t.Fatalf("%v: %s\n%s", e, e.broken, e.lines())
			}
			want := []string{"repeat", "stale", "stored"}
			if row.epochs > 1 {
				want = append(want, "fenced")
			}
			if row.faults.databases > 0 { // else what is stored is never sent together with something new
				want = append(want, "partial")
			}
			if got := slices.Sorted(maps.Keys(answers)); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("answers: %v, want %v", got, want)
			}
		})
	}
}

// answers counts the requests of a walk by what was answered: a walk that has not met each kind has shown nothing.
func (m *sourceModel) answers() map[string]int {
	answers := map[string]int{}
	for _, to := range m.stored {
		switch err := to.result.Err; {
		case to.result.Repeat:
			answers["repeat"]++
		case err == nil:
			answers["stored"]++
		case errors.As(err, new(*fsm.PartialError)):
			answers["partial"]++
		case errors.Is(err, fsm.ErrFenced):
			answers["fenced"]++
		case errors.Is(err, fsm.ErrStale):
			answers["stale"]++
		default:
			answers[err.Error()]++
		}
	}
	return answers
}

// Each rule that is left out, of the broker's side or of the relay's, breaks something.
func TestSourceNeedsEachRule(t *testing.T) {
	for _, row := range []struct {
		without string
		sourceRules
		broken fault
	}{
		{"the window is forgotten by a restart", sourceRules{epochs: 1, seqs: 3, faults: faults{0, 1}, forgets: true}, storedTwice},
		{"the fence is not checked", sourceRules{epochs: 2, seqs: 2, noFence: true}, storedTwice},
		{"late copies are not refused", sourceRules{epochs: 1, seqs: 3, noSeq: true}, storedTwice},
		{"the window is a range of ids", sourceRules{epochs: 1, seqs: 3, idRange: true}, neverStored},
		{"a new owner does not ask what is stored", sourceRules{epochs: 2, seqs: 3, asksNothing: true}, storedTwice},
		{"a relay goes on from a number below its own", sourceRules{epochs: 1, seqs: 6, asksOnce: true}, storedTwice},
		{"a message does not wait for the one before it in its key", sourceRules{epochs: 1, seqs: 3, overtakes: true}, outOfOrder},
		{"what is acked lifts the floor", sourceRules{epochs: 2, seqs: 3, floorAcked: true}, storedTwice},
		{"what the database may take back lifts the floor", sourceRules{epochs: 2, seqs: 3, faults: faults{1, 0}, floorMarked: true}, storedTwice},
		{"the floor passes what has no outcome", sourceRules{epochs: 1, seqs: 5, floorDoubt: true}, storedTwice},
	} {
		t.Run(row.without, func(t *testing.T) {
			e := explore(row.model().system(), mostStates)
			if e.broken != faultNames[row.broken] {
				t.Fatalf("%v: %q, want %q", e, e.broken, faultNames[row.broken])
			}
			t.Logf("%s, after %d states (%v):\n%s", e.broken, e.states, row.sourceRules, e.lines())
		})
	}
}
