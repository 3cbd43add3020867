package modelcheck

var nodeNames = [nodeCount]string{"node 0", "node 1", "node 2"}

// next finds each step from c. A state in which something is broken has none.
func (r rules) next(c cluster, found func(step, cluster)) {
	if c.broken != whole {
		return
	}
	// try does an act on a copy; the caller has seen that it is possible.
	try := func(i int, what string, p int, act func(c *cluster)) {
		to := c
		act(&to)
		to.forget(r)
		by := step{nodeNames[i], what}
		if p >= 0 {
			by[2] = nodeNames[p]
		}
		found(by, to)
	}
	for i := range c.nodes {
		n := &c.nodes[i]
		if n.role == away {
			try(i, "comes back as a new incarnation", -1, func(c *cluster) { c.rejoin(i) })
			continue
		}
		r.die(&c, i, try)
		if n.memory.mark == unmarked && n.role != leader && n.memory.term < r.terms {
			try(i, "campaigns", -1, func(c *cluster) { c.campaign(i, r) })
		}
		if n.role == leader && n.memory.log.length() < r.entries {
			try(i, "gets an entry and sends it", -1, func(c *cluster) { c.propose(i) })
		}
		if n.memory.log != n.disk.log {
			try(i, "syncs its own entry", -1, func(c *cluster) { c.sync(i, r); c.commit(i) })
		}
		if n.memory.mark == silent {
			try(i, "ends its silence", -1, func(c *cluster) { c.conclude(i, r) })
		}
		if n.reached() {
			try(i, "has reached the bar and clears its mark", -1, func(c *cluster) { c.unmark(i, r) })
		}
		for p := range c.nodes {
			if p != i && c.nodes[p].role != away {
				r.between(&c, i, p, try)
			}
		}
	}
}

var deathNames = [...]string{"crashes and restarts in order", "crashes and finds a torn frame that it had not synced", "crashes and has lost the frame that it synced last"}

func (r rules) die(c *cluster, i int, try func(int, string, int, func(*cluster))) {
	for how, most := range r.deaths {
		if c.deaths[how] < most && (i == 0 || death(how) == inOrder || death(how) == torn && !r.oneTears) {
			try(i, deathNames[how], -1, func(c *cluster) { c.deaths[how]++; c.restart(i, death(how), r) })
		}
	}
}

// between are the steps of node i with node p.
func (r rules) between(c *cluster, i, p int, try func(int, string, int, func(*cluster))) {
	n, in := &c.nodes[i], &c.net[p][i]
	if !c.up[i][p] && i < p {
		try(i, "shakes hands with", p, func(c *cluster) { c.shake(i, p, r) })
	}
	if c.nodes[p].memory.mark == silent && c.asked(p, i, r) {
		try(i, "answers", p, func(c *cluster) { c.answer(i, p) })
	}
	if n.memory.mark != silent && in.request.term != 0 {
		try(i, "decides about the vote for", p, func(c *cluster) { c.vote(i, p, r) })
	}
	if in.entries.term != 0 && (n.memory.mark != silent || r.followsSilent) {
		try(i, "takes the entries of", p, func(c *cluster) { c.take(i, p, r) })
	}
	if in.grant.term != 0 {
		try(i, "hears the vote of", p, func(c *cluster) { c.count(i, p) })
	}
	if in.ack.term != 0 {
		try(i, "hears the ack of", p, func(c *cluster) { c.acked(i, p) })
	}
}

// forget takes away what no step can tell any more, so that equal states look equal, and lets two nodes shake hands at once when waiting makes no difference.
func (c *cluster) forget(r rules) {
	for i := range c.nodes {
		n := &c.nodes[i]
		if i > 0 {
			n.before = disk{}
		}
		if n.role != leader {
			n.match = [nodeCount]uint8{}
		}
		for p := 0; p < nodeCount && !r.exact; p++ {
			c.net[p][i].forget(n, p, r)
		}
	}
	for i := range c.nodes {
		for p := range i {
			if !r.exact && c.idle(i, p, r) {
				c.shake(i, p, r)
			}
		}
		c.lower(i, r)
	}
}

// forget drops messages to node n from node p that would change nothing but what n has heard of p's seq. They count as lost. What says
// nothing in this life may say something in the next one, if it is let in there.
func (m *messages) forget(n *node, p int, r rules) {
	term := n.memory.term
	given := n.role != follower || n.memory.vote != 0 && n.memory.vote != uint8(p)+1
	if m.request.term < term || m.request.term == term && given {
		m.request = request{}
	}
	if m.entries.term < term {
		m.entries = entries{}
	}
	if !r.oldFrames && (m.grant.term < term || n.role != candidate) {
		m.grant = grant{}
	}
	if !r.oldFrames && (m.ack.term < term || n.role != leader || m.ack.index <= n.match[p]) {
		m.ack = ack{}
	}
	if !r.unbound && n.memory.mark != silent {
		m.answer = answer{}
	}
}

// idle says whether two nodes have to shake hands, nothing is under way between them, and neither would learn of a loss or have to ask again. Then a message that is
// lost is as good as a connection that comes later.
func (c *cluster) idle(a, b int, r rules) bool {
	n, m := &c.nodes[a], &c.nodes[b]
	below := n.memory.mark == barred && !n.reached() || m.memory.mark == barred && !m.reached()
	return !c.up[a][b] && n.role != away && m.role != away && c.net[a][b] == messages{} && c.net[b][a] == messages{} && (!below || r.asksOnce) &&
		(r.noCompare || n.heard[b] <= m.seq(r) && m.heard[a] <= n.seq(r))
}

// lower counts the seqs of node i from the lowest that it may still tell: what was heard of lower ones says as little as nothing.
func (c *cluster) lower(i int, r rules) {
	n := &c.nodes[i]
	low := n.disk.seq
	tells := func(s *stable) bool { return s.mark == silent || s.mark == barred && r.keepsOldSeq }
	for _, s := range []*stable{&n.memory, &n.disk.stable, &n.before.stable} {
		if tells(s) {
			low = min(low, s.told)
		}
	}
	if i == 0 {
		low = min(low, n.before.seq)
	} else if !r.keepsOldSeq { // it loses nothing, so that nobody has heard more of it than it tells
		low = ^uint8(0)
	}
	down := func(seq *uint8) { *seq -= min(*seq, low) }
	for _, seq := range []*uint8{&n.memory.told, &n.disk.seq, &n.disk.told, &n.before.seq, &n.before.told} {
		down(seq)
	}
	for p := range c.nodes {
		down(&c.nodes[p].heard[i])
		down(&c.net[i][p].grant.seq)
		down(&c.net[i][p].ack.seq)
	}
}
