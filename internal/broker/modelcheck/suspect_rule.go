package modelcheck

// What the suspect rule adds: how a node dies, what it finds, how it shakes hands, asks, and is one of the voters again.

// death is how a node dies.
type death uint8

const (
	inOrder death = iota // its log ends in order
	torn                 // its log ends in a torn frame that it had not synced
	loss                 // its log ends in a torn frame that it had synced: what it rests on is forgotten
)

// restart kills a node and starts it again, up to its roll.
func (c *cluster) restart(i int, how death, r rules) {
	n := &c.nodes[i]
	d := n.disk
	if how == loss {
		d = n.before
	}
	*n = node{memory: d.stable, disk: d, before: d}
	switch suspect := (how != inOrder || d.mark != unmarked) && !r.noMark; {
	case !suspect || d.mark == silent: // a standing mark keeps its seq: what came behind it was the roll
	case d.mark == barred && r.keepsOldSeq:
		n.memory.mark = silent
	default:
		n.memory.mark, n.memory.told = silent, d.seq
	}
	n.memory.bar = position{}
	c.sync(i, r)
	for p := range c.nodes {
		c.up[i][p], c.up[p][i] = false, false
		c.drop(p, i, r)
	}
}

// drop throws away what is on its way from one node to another: a connection has ended, or the process behind it.
func (c *cluster) drop(from, to int, r rules) {
	kept := messages{}
	if r.unbound {
		kept.answer = c.net[from][to].answer
	}
	if r.oldFrames {
		kept.grant, kept.ack = c.net[from][to].grant, c.net[from][to].ack
	}
	c.net[from][to] = kept
}

// shake connects two nodes anew and ends every older connection of the two. A peer that has told a higher seq than it tells now has lost something.
func (c *cluster) shake(a, b int, r rules) {
	for _, pair := range [][2]int{{a, b}, {b, a}} {
		if peer := pair[1]; c.nodes[pair[0]].heard[peer] > c.nodes[peer].seq(r) && !r.noCompare {
			c.leave(peer)
			return
		}
	}
	c.up[a][b], c.up[b][a] = true, true
	for _, pair := range [][2]int{{a, b}, {b, a}} {
		from, to := pair[0], pair[1]
		c.drop(from, to, r)
		if n := &c.nodes[to]; n.memory.mark == barred && !n.reached() && !r.asksOnce { // whoever told the bar may have lost it
			n.memory.mark, n.memory.bar = silent, position{}
			if !r.keepsOldSeq {
				n.memory.told = n.disk.seq
			}
			n.follow(n.memory.term)
		}
		if c.nodes[to].memory.mark == silent && !r.oneRound && !r.goesOn { // it asks everybody again
			for p := range c.nodes {
				if !r.unbound {
					c.net[p][to].answer = answer{}
				}
			}
		}
		c.replicate(from)
	}
}

// leave takes a node whose loss is proven out of the voters.
func (c *cluster) leave(i int) {
	c.nodes[i] = node{role: away}
	for p := range c.nodes {
		c.nodes[p].heard[i], c.nodes[p].match[i] = 0, 0
		c.up[i][p], c.up[p][i] = false, false
		c.net[i][p], c.net[p][i] = messages{}, messages{}
	}
}

// asked says whether suspect i has asked peer p.
func (c *cluster) asked(i, p int, r rules) bool {
	if r.oneRound || r.onePeer {
		return c.up[i][p]
	}
	for q := range c.nodes {
		if q != i && !c.up[i][q] {
			return false
		}
	}
	return true
}

// answer tells a suspect the term in memory and the last synced entry.
func (c *cluster) answer(i, suspect int) {
	c.net[i][suspect].answer = answer{c.nodes[i].memory.term, c.nodes[i].disk.log.last()}
}

// conclude ends the silence of a suspect when everybody has answered. It says whether that was so.
func (c *cluster) conclude(i int, r rules) bool {
	n, answers, term, bar := &c.nodes[i], 0, uint8(0), position{}
	for p := range c.nodes {
		got := c.net[p][i].answer
		if got.term == 0 {
			continue
		}
		answers++
		term = max(term, got.term)
		if bar.less(got.last) {
			bar = got.last
		}
	}
	if answers == 0 || answers < nodeCount-1 && !r.onePeer {
		return false
	}
	if term >= n.memory.term {
		if term > n.memory.term {
			n.memory.vote = 0
		}
		n.memory.term = term
		if !r.noVoteSpent {
			n.memory.vote = spent
		}
	}
	n.memory.mark, n.memory.bar = barred, bar
	if !r.keepsOldSeq {
		n.memory.told = 0
	}
	if r.noBar {
		n.memory.mark, n.memory.bar, n.memory.told = unmarked, position{}, 0
	}
	c.sync(i, r)
	for p := range c.nodes {
		if !r.unbound {
			c.net[p][i].answer = answer{}
		}
	}
	return true
}

// reached says whether a node that is barred has the bar in its synced log.
func (n *node) reached() bool {
	return n.memory.mark == barred && !n.disk.log.last().less(n.memory.bar)
}

func (c *cluster) unmark(i int, r rules) {
	n := &c.nodes[i]
	n.memory.mark, n.memory.told, n.memory.bar = unmarked, 0, position{}
	c.sync(i, r)
}

// rejoin brings node i back as a new incarnation, with a copy of what leader and other have: a joint change of the membership is committed by both of them. It
// says whether they can.
func (c *cluster) rejoin(i int) bool {
	for l := range c.nodes {
		if l == i {
			continue
		}
		o := nodeCount - i - l // 0 + 1 + 2 = 3
		lead, other := &c.nodes[l], &c.nodes[o]
		if lead.role != leader || !c.up[l][o] || lead.memory.mark != unmarked || other.memory.mark != unmarked ||
			other.memory.term != lead.memory.term || other.disk.log != lead.memory.log || lead.disk.log != lead.memory.log {
			continue
		}
		n := node{memory: stable{term: lead.memory.term, vote: spent, log: lead.memory.log}}
		n.disk.stable = n.memory
		n.before = n.disk
		c.nodes[i] = n
		for p := range c.nodes {
			c.up[i][p], c.up[p][i] = i != p, i != p
		}
		return true
	}
	return false
}
