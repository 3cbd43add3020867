package app

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/relay"
)

// The limit that a person lowers refuses some orders of the shop and lets most pass, whatever their numbers.
func TestTightLimitRefusesSomeOrders(t *testing.T) {
	limit := waybillbroker.Largest(broker.Topic{MaxBatch: demoTightBatch})
	for _, first := range []int64{1, 1000, 1_000_000} {
		large := 0
		for id := first; id < first+1200; id++ {
			o := placed(id, 100+id*37%100_000, "paid")
			payload, err := json.Marshal(o)
			if err != nil || len(o.Lines) < 1 || o.Customer < 1 {
				t.Fatalf("%+v, %v", o, err)
			}
			m := relay.Message{Key: fmt.Sprint("customer-", o.Customer), MessageID: fmt.Sprint("3f2a8c1e-5b7d-4e9f-8a6c-1d2e3f4a5b6c-", id), Type: "paid", ContentType: "application/json", Size: len(payload)}
			if m.Weight() > limit {
				large++
			}
		}
		if large < 240 || large > 600 {
			t.Errorf("orders from %d on: %d of 1200 are larger than %d bytes", first, large, limit)
		}
	}
}
