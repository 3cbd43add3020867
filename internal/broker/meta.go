package broker

import (
	"sync"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// metaMachine is group 0 on this node.
type metaMachine struct {
	mu    sync.RWMutex
	state *fsm.Meta
	moved func() // is told of every change; it must not block
}

// Apply implements replica.Machine.
func (m *metaMachine) Apply(_ commitlog.Position, term uint64, e fsm.Entry) []fsm.Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.moved()
	results := make([]fsm.Result, len(e.Commands))
	for i, r := range m.state.Apply(term, e) {
		results[i] = fsm.Result{Err: r.Err, Base: r.ProducerID}
	}
	return results
}

// Snapshot implements replica.Machine.
func (m *metaMachine) Snapshot(dst []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Snapshot(dst)
}

// Restore implements replica.Machine.
func (m *metaMachine) Restore(b []byte) error {
	state, err := fsm.RestoreMeta(b)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = state
	m.moved()
	return nil
}

func (m *metaMachine) topic(name string) (fsm.Topic, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.Topic(name)
}

func (m *metaMachine) topics() []fsm.Topic {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.Topics()
}

func (m *metaMachine) founded() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.Groups() > 0
}

// placed are the partitions of all topics, and the highest partition that was ever given to one.
func (m *metaMachine) placed() (owned map[uint32]bool, highest uint32) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	owned = map[uint32]bool{}
	for _, t := range m.state.Topics() {
		for _, p := range t.Partitions {
			owned[p.ID] = true
		}
	}
	return owned, m.state.Placed()
}
