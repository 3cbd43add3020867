package replica

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// call is a command whose client waits.
type call struct {
	p     *proposal
	group uint16
	body  string
}

// leaderOf finds a node that leads, as clients do.
func (w *world) leaderOf(group uint16) *simNode {
	for _, n := range w.nodes {
		if n.up && n.host.groups[group].leads.Load() && (!w.chaos || w.chance(0.7)) {
			return n
		}
	}
	return w.nodes[w.rng.IntN(simNodes)]
}

func simCommand(body string) fsm.Command { return fsm.Command{Type: 9, Body: []byte(body)} }

// client proposes, some commands at once, and comes again.
func (w *world) client() {
	if !w.chaos {
		return
	}
	group := uint16(w.rng.IntN(simGroups))
	n := w.leaderOf(group)
	for range 1 + w.rng.IntN(4) {
		if len(w.open) < 40 {
			w.call(group, n)
		}
	}
	w.after(w.dice.Duration(500*time.Millisecond), w.client)
}

func (w *world) call(group uint16, n *simNode) {
	if !n.up || n.resumes > w.now {
		return
	}
	w.serial++
	body := fmt.Sprintf("c%d%s", w.serial, strings.Repeat("x", w.rng.IntN(200)))
	g := &w.history.groups[group]
	if w.chance(0.15) { // a trim, mostly of nearly everything
		from := len(g.applied)
		if w.chance(0.3) {
			from = w.rng.IntN(from + 1)
		}
		body = fmt.Sprintf("c%d:%d", w.serial, max(0, from-w.rng.IntN(30)))
	}
	g.proposed[body] = pending
	p, err := n.propose(group, body, w.dice.Duration(8*time.Second))
	if err != nil {
		w.answer(&call{group: group, body: body}, fsm.Result{}, err)
		return
	}
	w.open = append(w.open, &call{p, group, body})
	w.poll()
}

// poll hears the answers that have come.
func (w *world) poll() {
	for i := 0; i < len(w.open); {
		c := w.open[i]
		select {
		case <-c.p.done:
			w.open = append(w.open[:i:i], w.open[i+1:]...)
			w.answer(c, c.p.result, c.p.err)
		default:
			i++
		}
	}
}

func (w *world) answer(c *call, r fsm.Result, err error) {
	f := acked
	switch {
	case errors.Is(err, ErrNotLeader):
		f = refused
	case err != nil:
		f = pending
	}
	w.note("group %d: %.8s at %d: %v", c.group, c.body, r.Base, err)
	w.history.told(c.group, c.body, r.Base, f)
}
