package checker

import (
	"slices"
	"testing"
)

// TestPartition is the short run of owners that lose their database and not their broker: each link a few times.
func TestPartition(t *testing.T) {
	binary, err := Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("C1 C2 partition", func(t *testing.T) {
		plan, err := NewPlan("partition", *seed)
		if err != nil {
			t.Fatal(err)
		}
		plan.Cycles, plan.Outboxes, plan.Out = 3*len(links), 2, records(t)
		rec, err := Run(t.Context(), plan, binary, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		t.Log("\n" + rec.Summary())
		if rec.Exit != ExitGreen {
			t.Errorf("exit code %d; again by: go test ./internal/checker -run TestPartition -chaos.seed=%#x", rec.Exit, *seed)
		}
	})
}

// Every link has its turn.
func TestLinksHaveTheirTurn(t *testing.T) {
	plan, err := NewPlan("partition", 7)
	if err != nil {
		t.Fatal(err)
	}
	plan.Cycles = 2 * len(links)
	var seen []Link
	for _, f := range plan.faults() {
		if f.Kind != Partition || f.Outbox == "" || f.Kind.server() {
			t.Errorf("%+v", f)
		}
		seen = append(seen, f.Link)
	}
	if !slices.Equal(seen, slices.Concat(links, links)) {
		t.Errorf("%v", seen)
	}
}
