package replica

import "time"

// trouble is one fault, and the next one later.
func (w *world) trouble() {
	if !w.chaos {
		return
	}
	n := w.nodes[w.rng.IntN(simNodes)]
	if w.chance(0.3) {
		n = w.leaderOf(0)
	}
	away := 50*time.Millisecond + w.dice.Duration(4*time.Second)
	switch w.rng.IntN(20) {
	case 0, 1:
		n.stop("killed")
		w.after(away, n.restart)
	case 2, 3:
		n.powerCut(w.damage())
		w.after(away, n.restart)
	case 4:
		w.note("power cut of all")
		for _, n := range w.nodes {
			n.powerCut(w.damage())
			w.after(w.dice.Duration(2*time.Second), n.restart)
		}
	case 5:
		w.note("node %d: the next sync fails", n.id)
		n.failSync = true
	case 6:
		n.slow = w.dice.Duration(3 * time.Second)
		w.note("node %d: syncs take %v", n.id, n.slow)
		w.after(away, func() { n.slow = 0 })
	case 7:
		w.note("node %d is paused for %v", n.id, away)
		n.resumes = w.now + away
	case 8, 9:
		w.isolate(n, away)
	case 10:
		from, to := n.id, 1+(n.id+uint64(w.rng.IntN(2)))%simNodes
		w.note("nothing goes from %d to %d", from, to)
		w.cut[from][to] = true
		w.after(away, func() { w.cut[from][to] = false })
	case 11, 12:
		w.loss, w.twice, w.late = w.rng.Float64()*0.4, w.rng.Float64()*0.3, w.rng.Float64()*0.3
		w.note("a bad net: %.2f lost, %.2f twice, %.2f late", w.loss, w.twice, w.late)
		w.after(away, func() { w.loss, w.twice, w.late = 0, 0, 0 })
	case 13, 14, 15:
		n.beginCheckpoint()
	case 16: // the third one sees both
		to := 1 + n.id%simNodes
		w.note("nothing goes between %d and %d", n.id, to)
		w.link(n.id, to, true)
		w.after(away, func() { w.link(n.id, to, false) })
	case 17:
		to := 1 + n.id%simNodes
		w.note("the link of %d and %d flaps", n.id, to)
		for i := range int(away / (100 * time.Millisecond)) {
			w.after(time.Duration(i)*100*time.Millisecond, func() { w.link(n.id, to, w.chaos && i%2 == 0) })
		}
		w.after(away, func() { w.link(n.id, to, false) })
	case 19:
		w.note("node %d: the disk is full", n.id)
		n.full = true
		w.after(away, func() { n.full = false })
	case 18:
		if n.up {
			n.host.Transfer(uint16(w.rng.IntN(simGroups)), 1+n.id%simNodes)
		}
	}
	w.after(w.dice.Duration(w.pause), w.trouble)
}

// isolate cuts a node off from both others, in one direction or in both.
func (w *world) isolate(n *simNode, d time.Duration) {
	out, in := w.chance(0.8), w.chance(0.8)
	w.note("node %d is cut off, out %v, in %v", n.id, out, in)
	set := func(cut bool) {
		for id := uint64(1); id <= simNodes; id++ {
			w.cut[n.id][id], w.cut[id][n.id] = cut && out, cut && in
		}
	}
	set(true)
	w.after(d, func() { set(false) })
}

// link cuts or mends the way between two nodes.
func (w *world) link(a, b uint64, cut bool) { w.cut[a][b], w.cut[b][a] = cut, cut }
