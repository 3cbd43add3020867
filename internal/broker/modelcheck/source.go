package modelcheck

import "github.com/waybillmq/waybill/internal/broker/fsm"

// The model of source window and fence: two relays in turn own one outbox of three messages and send them to one partition, whose state machine is the real one of
// package fsm. Requests come late, twice or never, answers get lost; owners die, or live on without knowing that they are none; the database takes back what it had
// not flushed; leaders of the broker change, each begins from a snapshot.
//
// Messages 1 and 3 have one key, so that 1 has to be stored first. Message 2 has another one and may be committed late.

const (
	messageCount = 3
	offsetRoom   = 2 * messageCount // enough for a batch that is stored twice
	wireRoom     = 2
	noFloor      = -1
)

// row is what the database says of a message.
type row uint8

const (
	uncommitted row = iota
	pending
	marked  // as sent, and a crash of the database takes it back
	settled // for good
)

// batch is message ids in the order in which they are sent; 0 behind the last.
type batch [messageCount]uint8

func (b batch) has(id uint8) bool { return b[0] == id || b[1] == id || b[2] == id }

// order is a request of a relay to store a batch.
type order struct {
	epoch, seq uint8
	floor      int8
	batch      batch
}

// relay is an owner of the outbox, or one that was. Arrays are by message, from id 1 on.
type relay struct {
	epoch  uint8 // 0 = it does not run
	fenced bool  // the broker knows its epoch
	open   bool  // and has told it what it remembers
	seq    uint8 // of the last request

	read  [messageCount]bool // it wants to send these
	acked [messageCount]bool // and needs not any more
	asked batch              // it has sent these, and knows no outcome yet
	waits bool               // for the answer

	at    [messageCount]int8 // its ledger: offset + 1 of what is stored and not below the floor; 0 = not there
	over  [messageCount]bool // that part of the ledger which counts as settled
	floor int8
}

// world is a state of the model.
type world struct {
	data string            // snapshot of the partition's group
	log  [offsetRoom]uint8 // what it has stored: the id at each offset
	wire [wireRoom]order   // requests on the way; they stay there, so that each may arrive again

	rows  [messageCount]row
	epoch uint8 // of the owner, in the database

	relays [2]relay
	faults faults
	broken fault
}

// faults counts what has gone wrong so far.
type faults struct{ databases, leaders uint8 }

type fault uint8

const (
	none fault = iota
	storedTwice
	neverStored
	outOfOrder
	refused
	elsewhere
	unsent
)

var faultNames = [...]string{"", "a message is stored twice", "a message is marked sent and was never stored", "two messages of one key are stored in the wrong order",
	"the owner is refused for good", "a message is said to lie where another one does", "not everything can be sent any more"}

// sourceRules are the bounds of a walk and what of the rules a variant leaves out.
type sourceRules struct {
	epochs, seqs uint8 // owners; requests of each
	faults       faults

	forgets     bool // the broker: a new leader has no windows
	noFence     bool // the broker: a lower epoch is as good as the highest
	noSeq       bool // the broker: an old request is as good as a new one
	idRange     bool // the broker: what is not above the highest id counts as stored
	asksNothing bool // the relay: a new owner does not ask what is stored
	asksOnce    bool // the relay: it takes the number that it is told, although it has used higher ones
	overtakes   bool // the relay: a message does not wait for the one before it in its key
	floorAcked  bool // the relay: what is acked lifts the floor
	floorMarked bool // the relay: what is marked lifts the floor, although a crash may take the mark back
	floorDoubt  bool // the relay: what has no outcome is forgotten when other messages go first
}

// sourceModel remembers what the broker makes of a request, and which states come to a good end: many share either.
type sourceModel struct {
	sourceRules
	stored  map[storing]stored
	settles map[world]bool
	texts   map[order]string
}

type storing struct {
	data  string
	order order
}

type stored struct {
	data   string
	result fsm.Result
}

func (r sourceRules) model() *sourceModel {
	return &sourceModel{r, map[storing]stored{}, map[world]bool{}, map[order]string{}}
}

func (m *sourceModel) system() system[world] {
	return system[world]{
		starts: []world{newWorld()},
		next:   m.next,
		broken: func(w world) string {
			if w.broken == none && !m.ends(w) {
				w.broken = unsent
			}
			return faultNames[w.broken]
		},
	}
}

// newWorld has an owner that is open, and message 2 not committed.
func newWorld() world {
	w := world{data: newPartition(), epoch: 1, rows: [messageCount]row{pending, uncommitted, pending}}
	w.relays[0] = relay{epoch: 1, floor: noFloor}
	return w
}

// owns says whether a relay is the owner.
func (w *world) owns(k int) bool { return w.relays[k].epoch == w.epoch }

// check looks at what is stored and what is marked.
func (w *world) check() {
	var seen batch
	for i, id := range w.log {
		switch {
		case id == 0:
			continue
		case seen.has(id):
			w.broken = storedTwice
			return
		case id == 1 && seen.has(3):
			w.broken = outOfOrder
			return
		}
		seen[i] = id // no id is there twice, so that there is room
	}
	for i, row := range w.rows {
		if row >= marked && !seen.has(uint8(i)+1) {
			w.broken = neverStored
		}
	}
}
