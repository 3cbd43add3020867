package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// load is what producers send, message for message numbered within its lane: each has one request in flight.
type load struct {
	Lanes int // each a partition, or a file
	Depth int // producers of a lane
	Batch int // messages of a request
}

// The loads that are measured. Many clients send one message each: 1, 64 and 1,024 are in flight. A relay sends batches, 1,024 messages in all.
var (
	loadSingle = load{Lanes: 16, Depth: 64, Batch: 1}
	loadSome   = load{Lanes: 16, Depth: 4, Batch: 1}
	loadLanes  = load{Lanes: 16, Depth: 1, Batch: 64} // one request in flight in each lane
	loadAlone  = load{Lanes: 1, Depth: 1, Batch: 1}
)

func (l load) String() string {
	switch {
	case l.Lanes*l.Depth*l.Batch == 1:
		return "1 message in flight"
	case l.Batch == 1:
		return fmt.Sprintf("%d requests of 1 message in flight", l.Lanes*l.Depth)
	}
	return fmt.Sprintf("%d lanes, each with a request of %d messages in flight", l.Lanes*l.Depth, l.Batch)
}

// sink stores a request and returns when it is on the disk. Requests of different producers come at once. It must not keep the request.
type sink interface {
	put(ctx context.Context, lane int, r *request) error
}

// producers put a load into a sink.
type producers struct {
	load
	sink  sink
	next  []atomic.Int64 // by lane: number of the next message
	acked []atomic.Int64 // by lane: messages that are stored
	bytes atomic.Int64   // of requests that are stored
}

func newProducers(l load, s sink) *producers {
	return &producers{load: l, sink: s, next: make([]atomic.Int64, l.Lanes), acked: make([]atomic.Int64, l.Lanes)}
}

// sent is how many messages are stored so far.
func (p *producers) sent() (n int64) {
	for i := range p.acked {
		n += p.acked[i].Load()
	}
	return n
}

// run produces until until says so, or a request fails; requests in flight come to their end. It returns how many milliseconds each took.
func (p *producers) run(ctx context.Context, until func() bool) (took []float64, err error) {
	var failed atomic.Bool
	errs := make([]error, p.Lanes*p.Depth)
	each := make([][]float64, len(errs))
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			lane, r := i%p.Lanes, newRequest(p.Batch)
			for !failed.Load() && !until() && errs[i] == nil {
				r.number(p.next[lane].Add(int64(p.Batch)) - int64(p.Batch))
				began := time.Now()
				if errs[i] = p.sink.put(ctx, lane, r); errs[i] != nil {
					failed.Store(true)
					break
				}
				each[i] = append(each[i], time.Since(began).Seconds()*1000)
				p.acked[lane].Add(int64(p.Batch))
				p.bytes.Add(int64(len(r.batch)))
			}
		})
	}
	wg.Wait()
	for i := range errs {
		if took = append(took, each[i]...); errs[i] != nil && err == nil {
			err = fmt.Errorf("lane %d: %w", i%p.Lanes, errs[i])
		}
	}
	return took, err
}

// after returns a condition that holds from d from now on.
func after(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return !time.Now().Before(end) }
}

// request is a batch of messages in Kafka's format, version 2, which is numbered anew for each time it is sent.
type request struct {
	batch  []byte
	values []int // where the values begin: the number of the message, then filling
	ids    []int64
	sums   []uint32
}

const (
	batchHead = 61
	crcFrom   = 21
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newRequest(messages int) *request {
	r := &request{batch: make([]byte, batchHead), ids: make([]int64, messages), sums: make([]uint32, messages)}
	value := make([]byte, payloadBytes)
	for i := range value {
		value[i] = byte(i * 7)
	}
	now := uint64(time.Now().UnixMilli())
	for i := range messages {
		record := binary.AppendVarint([]byte{0, 0}, int64(i)) // attributes, time, offset
		record = append(binary.AppendVarint(record, 1+keyDigits), fmt.Sprintf("k%06d", i%keyCount)...)
		record = append(append(binary.AppendVarint(record, payloadBytes), value...), 0) // no headers
		r.batch = append(binary.AppendVarint(r.batch, int64(len(record))), record...)
		r.values = append(r.values, len(r.batch)-payloadBytes-1)
	}
	be := binary.BigEndian
	be.PutUint32(r.batch[8:], uint32(len(r.batch)-12))
	r.batch[16] = 2
	be.PutUint32(r.batch[23:], uint32(messages-1))
	be.PutUint64(r.batch[27:], now)
	be.PutUint64(r.batch[35:], now)
	be.PutUint64(r.batch[43:], math.MaxUint64) // no producer id
	be.PutUint32(r.batch[57:], uint32(messages))
	return r
}

// number gives the messages the numbers from first on.
func (r *request) number(first int64) {
	for i, at := range r.values {
		binary.BigEndian.PutUint64(r.batch[at:], uint64(first)+uint64(i))
		r.ids[i], r.sums[i] = first+int64(i), uint32(first)+uint32(i)
	}
	binary.BigEndian.PutUint32(r.batch[17:], crc32.Checksum(r.batch[crcFrom:], castagnoli))
}
