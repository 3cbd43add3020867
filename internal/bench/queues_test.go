package bench

import (
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
)

func TestQueues(t *testing.T) {
	o := testOptions(t)
	o.RocketMQ, o.RabbitMQ = testservices.RocketMQ(t).NameServers, testservices.RabbitMQ(t).Addrs[0]
	figures, err := Queues(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	wantFigures(t, figures, map[string]int{"R1": 1, "M1": 1})
	if _, err := Queues(t.Context(), testOptions(t)); err == nil {
		t.Error("without a broker there is no error")
	}
}
