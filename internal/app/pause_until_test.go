package app

import (
	"testing"
	"time"
)

// A pause with an end holds for the relay that starts meanwhile, and is over at its end without anybody: what waited leaves then, and the log of activity says why.
func TestPauseEndsByItself(t *testing.T) {
	t.Parallel()
	b := newBulkRig(t, "orders")
	if _, err := b.people.PauseDestination(t.Context(), "local", time.Now().Add(time.Hour), "rebalance"); err != nil {
		t.Fatal(err)
	}
	b.publish(text("orders", "k"))
	const sent = `SELECT count(*)::int FROM outbox.receipts`
	for _, name := range []string{"a", "b"} {
		p := b.start(name)
		eventually(t, name+" obeys", func() bool {
			o, err := b.people.Overview(t.Context())
			st, by := o.Destination("local")
			return err == nil && by == name && st.Paused != nil && !st.Paused.Until.IsZero() && o.OwnedBy(name)
		})
		if name == "a" {
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if ask[int](b.rig, sent) > 0 {
		t.Error("it was sent while the pause lasted")
	}
	b.exec(`UPDATE outbox.pause SET until = clock_timestamp() + interval '1 s'`)
	until := ask[time.Time](b.rig, `SELECT until FROM outbox.pause`)
	eventually(t, "what waited is sent", func() bool { return ask[int](b.rig, sent) == 1 })
	if !ask[bool](b.rig, `SELECT bool_and(acked_at >= $1) FROM outbox.receipts`, until) {
		t.Error("it was sent while the pause lasted")
	}
	eventually(t, "it is written down", func() bool {
		return ask[int](b.rig, `SELECT count(*)::int FROM outbox.activity WHERE action = 'resume' AND via = 'auto' AND target = 'destination local' AND at >= $1`, until) == 1
	})
	if o, err := b.people.Overview(t.Context()); err != nil || len(o.Paused) > 0 {
		t.Errorf("%+v, %v", o.Paused, err)
	}
}
