package modelcheck

import (
	"encoding/binary"
	"errors"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// The broker is the real state machine: each step restores it from its snapshot, applies one command, and takes the next snapshot. A variant bends the command
// before it is applied, never the machine.

var source = fsm.SourceID{7}

var le = binary.LittleEndian

// apply applies one command of a new leader or an old one: that makes no difference to a machine.
func apply(data string, kind fsm.CommandType, body []byte) (string, fsm.Result) {
	d := fsm.NewData()
	if data != "" {
		var err error
		if d, err = fsm.RestoreData([]byte(data)); err != nil {
			panic(err) // it was written by Snapshot
		}
	}
	entry, err := fsm.ParseEntry((&fsm.Entry{Commands: []fsm.Command{{Type: kind, Body: body}}}).Append(nil))
	if err != nil {
		panic(err) // it was written by Append
	}
	result := d.Apply(1, entry)[0]
	return string(d.Snapshot(nil)), result
}

func newPartition() string {
	data, _ := apply("", fsm.CommandOpen, le.AppendUint32(nil, 0))
	return data
}

// records is a Kafka record batch of n records whose bytes nobody looks at.
func records(n int) []byte {
	be := binary.BigEndian
	b := make([]byte, 61)
	be.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2
	be.PutUint32(b[23:], uint32(n-1))
	be.PutUint64(b[43:], ^uint64(0)) // of no idempotent producer
	be.PutUint32(b[57:], uint32(n))
	return b
}

func fence(data string, epoch uint8) (string, fsm.Result) {
	return apply(data, fsm.CommandFence, le.AppendUint64(source[:], uint64(epoch)))
}

func state(data string, epoch uint8) (string, fsm.Result) {
	return apply(data, fsm.CommandState, le.AppendUint64(append(le.AppendUint32(nil, 0), source[:]...), uint64(epoch)))
}

// store applies a request.
func (m *sourceModel) store(data string, o order) (string, fsm.Result) {
	known, ok := m.stored[storing{data, o}]
	if !ok {
		known.data, known.result = m.sourceRules.store(data, o)
		m.stored[storing{data, o}] = known
	}
	return known.data, known.result
}

func (r sourceRules) store(data string, o order) (string, fsm.Result) {
	request := fsm.AppendRequest{Source: &fsm.Source{ID: source, Epoch: uint64(o.epoch), Seq: uint64(o.seq), Floor: int64(o.floor)}}
	for _, id := range o.batch {
		if id != 0 {
			request.IDs, request.Sums = append(request.IDs, int64(id)), append(request.Sums, uint32(id))
		}
	}
	if (r.noFence || r.noSeq || r.idRange) && r.bend(data, &request) {
		return data, fsm.Result{Repeat: true, Offsets: make([]int64, len(request.IDs))}
	}
	request.Batch = records(len(request.IDs))
	return apply(data, fsm.CommandAppend, request.Append(nil))
}

// bend makes of a request what a broker without a check would have taken it for. It says whether all of it counts as stored.
func (r sourceRules) bend(data string, request *fsm.AppendRequest) bool {
	s := request.Source
	_, now := state(data, uint8(s.Epoch))
	for r.noFence && errors.Is(now.Err, fsm.ErrFenced) {
		s.Epoch++
		if _, now = state(data, uint8(s.Epoch)); now.Err == nil {
			s.Seq = now.Cursor.Seq
		}
	}
	if now.Err != nil {
		return false
	}
	if r.noSeq {
		s.Seq = now.Cursor.Seq
	}
	return r.idRange && request.IDs[len(request.IDs)-1] <= now.Cursor.Highest
}

// withoutWindows is a partition with so many records whose sources are forgotten, but for the fence.
func withoutWindows(count int, epoch uint8) string {
	data := newPartition()
	if count > 0 {
		request := fsm.AppendRequest{Batch: records(count)}
		data, _ = apply(data, fsm.CommandAppend, request.Append(nil))
	}
	data, _ = fence(data, epoch)
	return data
}

// told is what the broker answers to a relay: offsets by message of a batch, -1 = not stored, or an error.
func told(result fsm.Result) ([]int64, error) {
	if partial := (*fsm.PartialError)(nil); errors.As(result.Err, &partial) {
		return partial.Offsets, nil
	}
	return result.Offsets, result.Err
}
