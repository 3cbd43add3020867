package modelcheck

// The model of the suspect rule: three nodes, one raft group. Node 0 has the disk that may lose the frame that it synced last; a torn frame, of which nobody was
// told, may be met on any node. Both look alike to the node that restarts.
//
// A restart follows its crash at once: to the others a node that is down looks like one that does nothing. A frame is one step, so a frame that was written and not
// synced when its node died is either not there or torn. A committed entry is one that a leader knows to be on two disks; what is acknowledged is committed before.

const (
	nodeCount = 3
	logRoom   = 3
	spent     = nodeCount + 1 // a vote for nobody
)

// position is the last entry of a log. Raft compares them by term, then by index.
type position struct{ term, index uint8 }

func (p position) less(q position) bool {
	return p.term < q.term || p.term == q.term && p.index < q.index
}

// history is a log: the term of each entry, 0 behind the last. Two entries with equal term and index are the same.
type history [logRoom]uint8

func (h history) length() (n uint8) {
	for n < logRoom && h[n] != 0 {
		n++
	}
	return n
}

func (h history) last() position {
	n := h.length()
	if n == 0 {
		return position{}
	}
	return position{h[n-1], n}
}

// begins says whether h is the beginning of other, or all of it.
func (h history) begins(other history) bool {
	for i, term := range h {
		if term != 0 && term != other[i] {
			return false
		}
	}
	return true
}

// mark is what the suspect record of a node says.
type mark uint8

const (
	unmarked mark = iota
	silent        // it has not asked everybody yet
	barred        // it follows, and neither campaigns nor votes below the bar
)

// stable is what a node keeps on disk, and has in memory a little earlier.
type stable struct {
	term, vote uint8 // vote: node + 1, or spent
	log        history
	mark       mark
	told       uint8    // while a mark stands: the synced seq that peers are told
	bar        position // while barred
}

// disk is what was synced: the sum of all frames, and the seq of the last one.
type disk struct {
	stable
	seq uint8
}

type role uint8

const (
	follower role = iota
	candidate
	leader
	away // its loss is proven: it comes back as a new incarnation only
)

type node struct {
	memory stable
	disk   disk
	before disk // without its last frame; node 0 only
	role   role
	votes  uint8            // a candidate's, as bits
	match  [nodeCount]uint8 // a leader's: entries that a follower has acknowledged
	heard  [nodeCount]uint8 // the highest synced seq that each peer has told in this life
}

// seq is the synced seq that a node tells in a handshake.
func (n *node) seq(r rules) uint8 {
	if n.memory.mark == silent && !r.tellsRoll {
		return n.memory.told
	}
	return n.disk.seq
}

// messages are those in flight from one node to another, at most one of a kind; term 0 = none. They arrive in any order, late or never. Being handled twice in one
// life changes nothing, so what is handled is gone.
type messages struct {
	request request
	grant   grant
	entries entries
	ack     ack
	answer  answer
}

type (
	request struct { // for a vote
		term uint8
		last position
	}
	grant   struct{ term, seq uint8 }
	entries struct {
		term uint8
		log  history
	}
	ack    struct{ term, index, seq uint8 }
	answer struct { // to a suspect: the term in memory, and the last synced entry
		term uint8
		last position
	}
)

// cluster is a state of the model.
type cluster struct {
	nodes [nodeCount]node
	up    [nodeCount][nodeCount]bool     // they have shaken hands, and neither has restarted since
	net   [nodeCount][nodeCount]messages // from, to

	committed history // what leaders have committed
	under     history // the term of the leader that committed each entry first
	led       uint8   // terms that had a leader, as bits
	broken    invariant

	deaths deaths // so far
}

type invariant uint8

const (
	whole invariant = iota
	lost
	twoLeaders
	twoEntries
	stuck
)

var invariants = [...]string{"", "a committed entry is missing from the log of a later leader", "two leaders in one term", "two entries committed at one index",
	"all nodes are back and no leader can come"}

// rules are the bounds of a walk and what of the suspect rule a variant leaves out.
type rules struct {
	bounds
	noMark        bool // a restart does not look for a torn tail
	markInMemory  bool // the mark is not in the roll
	noBar         bool // once it has asked, it votes as anybody
	noVoteSpent   bool // it may vote in the highest term that it is told
	onePeer       bool // the first answer is enough
	oneRound      bool // each peer is asked as soon as it has shaken hands
	noCompare     bool // synced seqs are not compared
	tellsRoll     bool // it tells the seq of its roll, not of its last good frame
	keepsOldSeq   bool // after a second crash below the bar it tells the seq of before the first one
	unbound       bool // answers reach another life of the suspect
	oldFrames     bool // a handshake does not end older connections
	sendsFirst    bool // a node asks for votes before its own campaign is synced
	followsSilent bool // it takes entries while silent
	asksOnce      bool // below the bar it does not ask again when a peer has restarted
	goesOn        bool // it does not ask again when a peer restarts while it asks
}

// bounds keep the number of states finite.
type bounds struct {
	terms, entries uint8
	deaths         deaths // at most
	oneTears       bool   // only node 0 finds torn frames
	exact          bool   // a message without effect and a handshake without one are steps too: many more states, to show that nothing hides behind that
}

// deaths counts crashes by kind: in order, torn, loss.
type deaths [3]uint8

// newClusters are two beginnings: node 0 leads the first term, or another one does.
func newClusters() (starts []cluster) {
	for lead := range uint8(2) {
		c := cluster{led: 1 << 1}
		for i := range c.nodes {
			n := &c.nodes[i]
			n.memory = stable{term: 1, vote: lead + 1}
			n.disk = disk{n.memory, 1}
			for p := range c.nodes {
				c.up[i][p] = i != p
			}
		}
		c.nodes[lead].role = leader
		starts = append(starts, c)
	}
	return starts
}

// system is the model under r, and what became of its states.
func (r rules) system() (system[cluster], *recovery) {
	rec := &recovery{r, map[cluster]outcome{}}
	return system[cluster]{
		starts: newClusters(),
		next:   r.next,
		broken: func(c cluster) string {
			if c.broken == whole && rec.of(c) == hangs {
				c.broken = stuck
			}
			return invariants[c.broken]
		},
	}, rec
}
