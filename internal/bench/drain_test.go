package bench

import (
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
)

func TestDrain(t *testing.T) {
	o := testOptions(t)
	o.Kafka, o.Rows = testservices.Kafka(t).Brokers, 20_000 // processor time is counted in steps of 10 ms, and 0 is no figure
	figures, err := Drain(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	wantFigures(t, figures, map[string]int{"K3": 1, "K4": 2, "E1": 2, "L2": 4})
}

func TestDrainWantsAKafka(t *testing.T) {
	if _, err := Drain(t.Context(), testOptions(t)); err == nil {
		t.Error("a drain without a Kafka is no error")
	}
}
