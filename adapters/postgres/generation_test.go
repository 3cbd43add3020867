package postgres_test

import (
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// A second change of the server's history before anything was claimed: the generation that began there is used again under a new id, with the rights of the
// relay's login alone.
func TestTwoPromotionsBeforeAClaim(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		d := newOutbox(t, major)
		var before []relay.Generation
		for n := 1; n <= 3; n++ {
			d.exec(`UPDATE outbox.generations SET timeline = timeline + 1000 WHERE from_id = (SELECT max(from_id) FROM outbox.generations)`)
			o := d.own()
			got := o.lease.Generations
			if len(got) != 2 || got[1].From != 1 {
				t.Fatalf("generations after change %d: %v", n, got)
			}
			if len(before) == 2 && got[1].UUID == before[1].UUID {
				t.Errorf("change %d kept the id of the generation: ids that are drawn again would be dropped as repeats", n)
			}
			if before = got; o.lease.Epoch < relay.Epoch(n*1_000_000) {
				t.Errorf("epoch %d after change %d", o.lease.Epoch, n)
			}
			if err := o.Release(ctxOf(t), o.lease); err != nil {
				t.Fatal(err)
			}
		}
	})
}
