package broker

import (
	"encoding/binary"
	"iter"
	"sync"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// dataMachine is one data group on this node: its state, and where the batches lie in this node's log.
type dataMachine struct {
	mu    sync.RWMutex
	state *fsm.Data
	rows  map[uint32]*rows
	moved func() // is told when a partition was opened or closed; it must not block
}

func newDataMachine(moved func()) *dataMachine {
	return &dataMachine{state: fsm.NewData(), rows: map[uint32]*rows{}, moved: moved}
}

func (m *dataMachine) rowsOf(partition uint32) *rows {
	r := m.rows[partition]
	if r == nil {
		r = &rows{}
		m.rows[partition] = r
	}
	return r
}

// Apply implements replica.Machine.
func (m *dataMachine) Apply(at commitlog.Position, term uint64, e fsm.Entry) []fsm.Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	results := m.state.Apply(term, e)
	for i := range results {
		c := &e.Commands[i]
		switch s := results[i].Stored; {
		case s.Count > 0:
			m.rowsOf(s.Partition).add(row{base: s.Base, at: at, command: uint16(i), time: m.state.Time(), size: int32(len(c.Body))})
		case results[i].Err != nil:
		case c.Type == fsm.CommandOpen:
			m.moved()
		case c.Type == fsm.CommandTrim:
			id := le.Uint32(c.Body)
			m.rowsOf(id).trim(m.state.Partition(id).Start())
		case c.Type == fsm.CommandClose:
			id := le.Uint32(c.Body)
			m.rowsOf(id).wake()
			delete(m.rows, id)
			m.moved()
		}
	}
	return results
}

// Snapshot implements replica.Machine: the length of the state as a uvarint, the state, the rows.
func (m *dataMachine) Snapshot(dst []byte) []byte {
	m.mu.Lock() // the state forgets silent producers meanwhile
	defer m.mu.Unlock()
	return appendRows(appendState(dst, m.state.Snapshot(nil)), m.rows)
}

// Bare implements replica.Pointing: the same without rows, which are places of this node's log.
func (m *dataMachine) Bare(dst []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return appendRows(appendState(dst, m.state.Snapshot(nil)), nil)
}

func appendState(dst, state []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(state))), state...)
}

// cutState is the other way; rest are the rows.
func cutState(b []byte) (state, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, fsm.ErrSnapshot
	}
	return b[used : used+int(n)], b[used+int(n):], nil
}

// Restore implements replica.Machine. A bare state has partitions without rows: what they hold is given up before this node leads, for a state lies before all that
// is kept, and what follows comes as entries.
func (m *dataMachine) Restore(b []byte) error {
	b, rest, err := cutState(b)
	if err != nil {
		return err
	}
	state, err := fsm.RestoreData(b)
	if err != nil {
		return err
	}
	all, err := parseRows(rest)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.rows {
		r.wake()
	}
	m.state, m.rows = state, all
	m.moved()
	return nil
}

// Oldest implements replica.Pointing.
func (m *dataMachine) Oldest() (at commitlog.Position, points bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, r := range m.rows {
		if len(r.list) == 0 {
			continue
		}
		if x := r.list[0].at; !points || x.Segment < at.Segment || x.Segment == at.Segment && x.At < at.At {
			at, points = x, true
		}
	}
	return at, points
}

// Forward implements replica.Pointing.
func (m *dataMachine) Forward(bare []byte, entries iter.Seq2[uint64, fsm.Entry]) ([]byte, error) {
	state, rest, err := cutState(bare)
	if err != nil {
		return nil, err
	}
	if state, err = fsm.ForwardData(state, entries); err != nil {
		return nil, err
	}
	return append(appendState(nil, state), rest...), nil
}

// bounds are the oldest offset of a partition and the one behind the newest; false when it is not open.
func (m *dataMachine) bounds(partition uint32) (start, high int64, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := m.state.Partition(partition)
	if p == nil {
		return 0, 0, false
	}
	return p.Start(), p.HighWatermark(), true
}

// oldest is the lowest segment that holds a record which is kept, math.MaxUint64 when none is.
func (m *dataMachine) oldest(lowest uint64) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, r := range m.rows {
		if len(r.list) > 0 {
			lowest = min(lowest, r.list[0].at.Segment)
		}
	}
	return lowest
}
