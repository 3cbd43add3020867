package modelcheck

// outcome is what becomes of a state when nothing more fails.
type outcome uint8

const (
	heals  outcome = iota + 1 // a leader comes whom everybody follows
	person                    // one node is away for good and another one has a mark: nobody can say what the first one knew
	hangs                     // nothing comes, and nobody knows why
)

// recovery remembers what becomes of states, which many share once their messages are lost.
type recovery struct {
	rules
	known map[cluster]outcome
}

// of finds what becomes of c without another fault, with every message on the way lost. It goes one way that a fair cluster may go, not each of them.
func (r *recovery) of(c cluster) outcome {
	c.net = [nodeCount][nodeCount]messages{}
	c.led, c.committed, c.under, c.deaths = 0, history{}, history{}, deaths{}
	for i := range c.nodes {
		if c.nodes[i].role == candidate {
			c.nodes[i].role, c.nodes[i].votes = follower, 0
		}
	}
	if known := r.known[c]; known != 0 {
		return known
	}
	came := r.heal(c)
	r.known[c] = came
	return came
}

// count is how many states come to an outcome.
func (r *recovery) count(came outcome) (n int) {
	for _, known := range r.known {
		if known == came {
			n++
		}
	}
	return n
}

// heal lets everybody do in turn what they can, and one after the other campaign.
func (r *recovery) heal(c cluster) outcome {
	for round := range 4 * nodeCount {
		c.connect(r.rules)
		c.deliver(r.rules)
		if c.settled() {
			return heals
		}
		i := round % nodeCount
		switch n := &c.nodes[i]; {
		case n.role == leader && !c.outdated(i) && n.memory.log.length() < logRoom: // a new leader begins with an entry of its own
			c.propose(i)
		case n.role != away && n.memory.mark == unmarked && c.leader() < 0:
			c.campaign(i, r.rules)
		}
		c.deliver(r.rules)
	}
	left, marked := false, false
	for i := range c.nodes {
		left = left || c.nodes[i].role == away
		marked = marked || c.nodes[i].memory.mark != unmarked
	}
	if left && marked {
		return person
	}
	return hangs
}

// connect lets everybody shake hands, ask and come back.
func (c *cluster) connect(r rules) {
	for i := range c.nodes {
		for p := range i {
			if !c.up[i][p] && c.nodes[i].role != away && c.nodes[p].role != away {
				c.shake(i, p, r)
			}
		}
	}
	for i := range c.nodes {
		for p := range c.nodes {
			if p != i && c.up[i][p] && c.nodes[i].memory.mark == silent && c.asked(i, p, r) {
				c.answer(p, i)
			}
		}
		if c.nodes[i].memory.mark == silent {
			c.conclude(i, r)
		}
		if c.nodes[i].role == away {
			c.rejoin(i)
		}
	}
}

// deliver lets every message arrive, requests before what answers them.
func (c *cluster) deliver(r rules) {
	for i := range c.nodes {
		if c.nodes[i].memory.log != c.nodes[i].disk.log {
			c.sync(i, r)
		}
		c.replicate(i)
	}
	for _, kind := range []func(i, p int){
		func(i, p int) {
			if c.net[p][i].request.term != 0 {
				c.vote(i, p, r)
			}
		},
		func(i, p int) {
			if c.net[p][i].grant.term != 0 {
				c.count(i, p)
			}
		},
		func(i, p int) {
			if c.net[p][i].entries.term != 0 {
				c.take(i, p, r)
			}
		},
		func(i, p int) {
			if c.net[p][i].ack.term != 0 {
				c.acked(i, p)
			}
		},
	} {
		for i := range c.nodes {
			for p := range c.nodes {
				if i != p && c.nodes[i].role != away && c.nodes[i].memory.mark != silent {
					kind(i, p)
				}
			}
		}
	}
	for i := range c.nodes {
		if c.nodes[i].reached() {
			c.unmark(i, r)
		}
	}
}

// outdated says whether somebody knows a higher term than node i.
func (c *cluster) outdated(i int) bool {
	for p := range c.nodes {
		if c.nodes[p].memory.term > c.nodes[i].memory.term {
			return true
		}
	}
	return false
}

// leader is who leads the highest term, -1 = nobody.
func (c *cluster) leader() int {
	for i := range c.nodes {
		if c.nodes[i].role == leader && !c.outdated(i) {
			return i
		}
	}
	return -1
}

// settled says whether a leader has everybody behind it, without a mark.
func (c *cluster) settled() bool {
	l := c.leader()
	if l < 0 {
		return false
	}
	for i := range c.nodes {
		n := &c.nodes[i]
		if n.role == away || n.memory.mark != unmarked || i != l && !c.up[i][l] || !c.nodes[l].memory.log.begins(n.disk.log) {
			return false
		}
	}
	return true
}
