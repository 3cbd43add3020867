package replica

import (
	"fmt"
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// ownEntry is an entry that this node has proposed and not applied yet. raft is given a token instead of it: raft copies what it is given, and that copy was an
// eighth of all the work of an append. Writer and applier put the entry in its place, so that no token reaches the disk. With several voters raft is given the
// entry itself.
type ownEntry struct {
	proposals []*proposal
	synced    bool    // here; with several voters
	encoded   *[]byte // from encodings, given back when the entry was applied: it is durable then; not used with several voters
}

// encodings are buffers of entries.
var encodings = sync.Pool{New: func() any { return new([]byte) }}

const (
	tokenVersion = 0xff // where an entry has its version
	tokenSize    = 9
)

// token stands for the entry of a proposal of this node: version u8, proposal u64.
func (g *group) token(number uint64) []byte {
	return le.AppendUint64(append(make([]byte, 0, tokenSize), tokenVersion), number)
}

// data is what an entry of raft holds: its own bytes, or those for which its token stands, which are to be read before the entry is answered.
func (g *group) data(e *pb.Entry) ([]byte, error) {
	b := e.GetData()
	if len(b) == 0 || b[0] != tokenVersion {
		return b, nil
	}
	if len(b) != tokenSize {
		return nil, fmt.Errorf("group %d: entry %d: %w", g.id, e.GetIndex(), fsm.ErrEntry)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.proposed[le.Uint64(b[1:])]
	if own == nil {
		return nil, fmt.Errorf("group %d: entry %d was proposed by nobody here: %w", g.id, e.GetIndex(), fsm.ErrEntry)
	}
	return *own.encoded, nil
}

// syncedOwn notes which own entries are synced here, so that one who waits in vain is told whom for.
func (g *group) syncedOwn(entries []*pb.Entry) {
	if g.alone {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range entries {
		proposer, number, ok := fsm.ProposalOf(e.GetData())
		if own := g.proposed[number]; ok && own != nil && proposer == g.host.cfg.ID {
			own.synced = true
		}
	}
}

// answer gives those who wait for an own entry their results, when it was applied.
func (g *group) answer(number uint64, results []fsm.Result) {
	g.mu.Lock()
	own := g.proposed[number]
	delete(g.proposed, number)
	g.mu.Unlock()
	if own == nil { // of another life
		return
	}
	finish(own.proposals, results, nil)
	if g.alone {
		encodings.Put(own.encoded)
	}
}
