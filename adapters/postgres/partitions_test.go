package postgres

import (
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

func TestPlanPartitions(t *testing.T) {
	const k = 1000
	cases := []struct {
		name  string
		facts idFacts
		want  []idRange
	}{
		{"a new outbox", idFacts{last: 1}, []idRange{{1002, 101_002}, {101_002, 201_002}}},
		{"enough lies ahead", idFacts{last: 5, existing: []idRange{{0, 100 * k}, {100 * k, 200 * k}, {200 * k, 300 * k}}}, nil},
		{"one whole one is not enough", idFacts{last: 5, existing: []idRange{{0, 100 * k}, {100 * k, 200 * k}}}, []idRange{{200 * k, 300 * k}}},
		{"as wide as a sixteenth of the retention", idFacts{last: 150 * k, hours: []int64{80 * k}, existing: []idRange{{0, 100 * k}, {100 * k, 2200 * k}, {2200 * k, 3000 * k}}},
			[]idRange{{3000 * k, 3360 * k}}},
		{"a day at the peak lies ahead", idFacts{last: 0, hours: []int64{0, 30 * k}, existing: []idRange{{0, 100 * k}, {100 * k, 600 * k}, {600 * k, 620 * k}}}, []idRange{{620 * k, 720 * k}}},
		{"above what fell into the default partition", idFacts{last: 500 * k, rest: 500 * k, existing: []idRange{{0, 100 * k}}}, []idRange{{501_001, 601_001}, {601_001, 701_001}}},
	}
	for _, c := range cases {
		got := planPartitions(c.facts, 72*time.Hour)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	many := idFacts{last: 49 * 100 * k}
	for i := range 50 {
		many.existing = append(many.existing, idRange{relay.ID(i) * 100 * k, relay.ID(i+1) * 100 * k})
	}
	if got := planPartitions(many, 72*time.Hour); len(got) == 0 || got[0].Hi-got[0].Lo != 200*k {
		t.Errorf("with %d partitions: %v, want twice the width", len(many.existing), got)
	}
}
