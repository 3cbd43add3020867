package modelcheck

import "math/bits"

// What a node does as any raft node would: campaign, vote, propose, follow, commit. Each act that changes what is on disk syncs before it says so.

// sync writes one frame with all that is in memory.
func (c *cluster) sync(i int, r rules) {
	n := &c.nodes[i]
	if i == 0 {
		n.before = n.disk
	}
	n.disk.stable = n.memory
	n.disk.seq++
	if r.markInMemory {
		n.disk.mark, n.disk.told, n.disk.bar = unmarked, 0, position{}
	}
}

// follow takes a higher term, or gives a campaign up in the same one.
func (n *node) follow(term uint8) {
	if term > n.memory.term {
		n.memory.term, n.memory.vote = term, 0
	}
	n.role, n.votes, n.match = follower, 0, [nodeCount]uint8{}
}

func (c *cluster) campaign(i int, r rules) {
	n := &c.nodes[i]
	n.follow(n.memory.term + 1)
	n.memory.vote, n.role = uint8(i)+1, candidate
	if !r.sendsFirst { // raft would; the host holds the requests back
		n.votes = 1 << i
		c.sync(i, r)
	}
	for p := range c.nodes {
		if c.up[i][p] {
			c.net[i][p].request = request{n.memory.term, n.memory.log.last()}
		}
	}
}

// vote handles a request of node from.
func (c *cluster) vote(i, from int, r rules) {
	n, ask := &c.nodes[i], c.net[from][i].request
	c.net[from][i].request = request{}
	was := n.memory
	if ask.term > n.memory.term {
		n.follow(ask.term)
	}
	free := n.memory.vote == 0 || n.memory.vote == uint8(from)+1
	below := n.memory.mark == barred && ask.last.less(n.memory.bar)
	granted := ask.term == n.memory.term && n.role == follower && free && !below && !ask.last.less(n.memory.log.last())
	if granted {
		n.memory.vote = uint8(from) + 1
	}
	if n.memory != was {
		c.sync(i, r)
	}
	if granted && c.up[i][from] {
		c.net[i][from].grant = grant{ask.term, n.disk.seq}
	}
}

// count handles a vote of node from.
func (c *cluster) count(i, from int) {
	n, got := &c.nodes[i], c.net[from][i].grant
	c.net[from][i].grant = grant{}
	n.heard[from] = max(n.heard[from], got.seq)
	if n.role != candidate || got.term != n.memory.term {
		return
	}
	n.votes |= 1 << from
	if bits.OnesCount8(n.votes) < 2 {
		return
	}
	n.role, n.votes = leader, 0
	if c.led&(1<<got.term) != 0 {
		c.broken = twoLeaders
	}
	c.led |= 1 << got.term
	c.checkLeader(n)
	c.replicate(i)
}

// checkLeader: what was committed under lower terms is in the log of a leader.
func (c *cluster) checkLeader(n *node) {
	for i, under := range c.under {
		if under != 0 && under < n.memory.term && n.memory.log[i] != c.committed[i] {
			c.broken = lost
		}
	}
}

// replicate sends a leader's log to everybody.
func (c *cluster) replicate(i int) {
	n := &c.nodes[i]
	for p := range c.nodes {
		if c.up[i][p] && n.role == leader && n.memory.log[0] != 0 {
			c.net[i][p].entries = entries{n.memory.term, n.memory.log}
		}
	}
}

// propose gives a leader an entry, which leaves for its followers before it is synced.
func (c *cluster) propose(i int) {
	n := &c.nodes[i]
	n.memory.log[n.memory.log.length()] = n.memory.term
	c.replicate(i)
}

// take handles the entries of the leader from.
func (c *cluster) take(i, from int, r rules) {
	n, sent := &c.nodes[i], c.net[from][i].entries
	c.net[from][i].entries = entries{}
	if sent.term < n.memory.term {
		return
	}
	n.follow(sent.term)
	if !sent.log.begins(n.memory.log) {
		n.memory.log = sent.log
	}
	if n.memory != n.disk.stable {
		c.sync(i, r)
	}
	if c.up[i][from] {
		c.net[i][from].ack = ack{sent.term, sent.log.length(), n.disk.seq}
	}
}

// acked handles an ack of node from.
func (c *cluster) acked(i, from int) {
	n, got := &c.nodes[i], c.net[from][i].ack
	c.net[from][i].ack = ack{}
	n.heard[from] = max(n.heard[from], got.seq)
	if n.role == leader && got.term == n.memory.term {
		n.match[from] = max(n.match[from], got.index)
		c.commit(i)
	}
}

// commit takes note of what is on two disks, the leader's own counted when it is synced.
func (c *cluster) commit(i int) {
	n := &c.nodes[i]
	if n.role != leader {
		return
	}
	for index := n.memory.log.length(); index > 0 && n.memory.log[index-1] == n.memory.term; index-- {
		disks := 0
		for p := range c.nodes {
			if p != i && n.match[p] >= index || p == i && n.disk.log.length() >= index {
				disks++
			}
		}
		if disks < 2 {
			continue
		}
		for k := range index {
			switch {
			case c.under[k] == 0:
				c.committed[k], c.under[k] = n.memory.log[k], n.memory.term
			case c.committed[k] != n.memory.log[k]:
				c.broken = twoEntries
			}
		}
		break
	}
	for p := range c.nodes {
		if c.nodes[p].role == leader {
			c.checkLeader(&c.nodes[p])
		}
	}
}
