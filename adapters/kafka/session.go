package kafka

import (
	"math"
	"sync"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// session is a lane's side of the broker's duplicate check (KIP-98): the broker stores the batch whose first sequence is `next`, and answers a batch that
// it has already with the offset of the first copy.
type session struct {
	pid   int64 // producer id; noProducer without idempotence
	epoch int16 // producer epoch
	next  int32 // sequence of the next record; moves on acked only
	live  bool  // false: a producer id has to be fetched first
}

const noProducer = -1

// anonymous is the session of a publisher without idempotence: the broker checks nothing.
func anonymous() session { return session{pid: noProducer, epoch: -1, next: -1, live: true} }

// producer is who a batch of this session says it is from.
func (s *session) producer() record.Producer { return record.Producer{ID: s.pid, Epoch: s.epoch} }

func (s *session) advance(count int) {
	if s.pid != noProducer {
		s.next = addSequence(s.next, count)
	}
}

// addSequence wraps after 2^31-1 to 0, as the broker counts.
func addSequence(seq int32, n int) int32 { return int32((int64(seq) + int64(n)) & math.MaxInt32) }

// openBatch is what has been encoded and not been answered for good. Its bytes never change: whatever is sent under its sequence numbers is this.
type openBatch struct {
	ids     []relay.ID // reused between batches
	buf     []byte     // size prefix and batch; from bufferPool, nil when there is no batch
	sent    bool       // it may have reached a broker: only these very bytes may be sent under these sequence numbers
	unsure  bool       // it may be stored
	shared  bool       // a request that was given up may still read buf: never write to it again
	corrupt int        // how often in a row the broker found it damaged
}

// leads says whether the batch begins with exactly the open messages: then the open bytes are sent first, and the rest after them.
func (o *openBatch) leads(batch []*relay.Message) bool {
	if len(o.ids) == 0 || len(batch) < len(o.ids) {
		return false
	}
	for i, id := range o.ids {
		if batch[i].ID != id {
			return false
		}
	}
	return true
}

// isOpen says whether there is a batch.
func (o *openBatch) isOpen() bool { return len(o.ids) > 0 }

// clear forgets the batch; its buffer goes to the next one, of any lane, unless somebody may still read it.
func (o *openBatch) clear() {
	if o.buf != nil && !o.shared {
		giveBuffer(o.buf)
	}
	*o = openBatch{ids: o.ids[:0]}
}

// bufferPool holds the buffers of answered batches: there are as many as batches in flight, not as many as lanes.
var bufferPool sync.Pool

const maxPooledBuffer = 2 << 20 // one large message must not be remembered for ever

func takeBuffer() []byte {
	if b, ok := bufferPool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return nil
}

func giveBuffer(b []byte) {
	if cap(b) <= maxPooledBuffer {
		bufferPool.Put(&b)
	}
}
