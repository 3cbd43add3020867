package app

import (
	"strings"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// Another cluster under the name of a destination gets nothing until a person accepts it; then what waits leaves by itself, once.
func TestDestinationIsAdopted(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 1, nil)
	r.exec(`INSERT INTO outbox.destination (name, kind, cluster_id) VALUES ('kafka', 'kafka', 'another')`)
	r.start("a")
	r.publish(text(topic, "k"))
	eventually(t, "the relay refuses it and names the command", func() bool {
		state, detail := r.said("kafka")
		return state == relay.DestinationConfig && strings.Contains(detail, "waybill destination adopt kafka")
	})
	if n := len(r.records(t.Context(), topic)); n != 0 {
		t.Fatalf("%d messages went to another cluster", n)
	}
	p := r.people()
	c, err := p.Clusters(t.Context(), "kafka")
	if err != nil || c.Pinned != "another" || c.Answers == "" || c.Answers == c.Pinned {
		t.Fatalf("%+v, %v", c, err)
	}
	if activity, err := p.AdoptDestination(t.Context(), "kafka", c.Answers, "test"); err != nil || activity == 0 {
		t.Fatal(activity, err)
	}
	r.drained()
	r.verdict(0)
}
