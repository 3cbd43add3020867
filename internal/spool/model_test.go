package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"

	"github.com/waybillmq/waybill/relay"
)

// state is what a test knows of an id.
type state struct {
	lane              relay.CacheLane
	put, acked        bool // the call has returned
	trying, tryingAck bool // it was called
	gone              bool // forgotten, which a crash may take back
}

// model is what a cache must hold. Its lock also keeps the file system of a test still while a crash image is taken.
type model struct {
	mu     sync.Mutex
	ids    map[relay.ID]*state
	next   relay.ID
	lanes  []relay.CacheLane
	claims relay.ID // the highest that was remembered
}

func newModel() *model {
	return &model{ids: map[relay.ID]*state{}, next: 1, lanes: []relay.CacheLane{kafkaLane, noTopic, {Destination: "rabbit", Lane: relay.Lane{Topic: "x"}}}}
}

func (m *model) set(ids []relay.ID, change func(*state)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		change(m.ids[id])
	}
}

func sizeOf(id relay.ID) int { return int(id*2654435761%4096) / (1 + int(id%3)*7) }

// step does something to a cache, and says what went wrong.
func (m *model) step(s *Spool, rng *rand.Rand) error {
	lane := m.lanes[rng.IntN(len(m.lanes))]
	var here, acked []relay.ID
	for id, st := range m.ids {
		if st.lane == lane && st.put && !st.gone {
			if st.acked {
				acked = append(acked, id)
			} else {
				here = append(here, id)
			}
		}
	}
	slices.Sort(here)
	slices.Sort(acked)
	switch n := rng.IntN(12); {
	case n < 6:
		return m.stepPut(s, lane, 1+rng.IntN(4))
	case n < 8 && len(here) > 0:
		ids := here[:1+rng.IntN(len(here))]
		m.set(ids, func(st *state) { st.tryingAck = true })
		acks := make([]relay.CachedAck, len(ids))
		for i, id := range ids {
			acks[i] = relay.CachedAck{ID: id, At: relay.Position{Offset: int64(id), HasOffset: true}}
		}
		err := s.Acked(lease, lane, acks)
		if err == nil {
			m.set(ids, func(st *state) { st.acked = true })
		}
		return err
	case n < 10:
		ids := append(here, acked...)
		ids = ids[:rng.IntN(len(ids)+1)]
		m.set(ids, func(st *state) { st.gone = true })
		s.Forget(lane, ids)
	case n < 11:
		got, err := s.Next(lane, 1+rng.IntN(5), 4000)
		if err == nil {
			err = m.right(lane, got)
		}
		return err
	default:
		err := s.Remember(7, 1000+m.next)
		if err == nil {
			m.mu.Lock()
			m.claims = 1000 + m.next
			m.mu.Unlock()
		}
		return err
	}
	return nil
}

func (m *model) stepPut(s *Spool, lane relay.CacheLane, n int) error {
	var ids []relay.ID
	var list []*relay.Message
	m.mu.Lock()
	for range n {
		ids, list = append(ids, m.next), append(list, newMessage(m.next, sizeOf(m.next)))
		m.ids[m.next] = &state{lane: lane, trying: true}
		m.next++
	}
	m.mu.Unlock()
	stored, err := s.Put(lease, lane, list)
	m.set(ids[:stored], func(st *state) { st.put = true })
	return err
}

// errWrong is an error of the cache and not of the disk.
var errWrong = errors.New("wrong")

// right says whether messages are as they were put, in order.
func (m *model) right(lane relay.CacheLane, got []*relay.Message) error {
	last := relay.ID(0)
	for _, g := range got {
		st := m.ids[g.ID]
		if st == nil || st.lane != lane || g.ID <= last {
			return fmt.Errorf("message %d of lane %v behind %d: %w", g.ID, lane, last, errWrong)
		}
		if !reflect.DeepEqual(g, newMessage(g.ID, sizeOf(g.ID))) {
			return fmt.Errorf("message %d has changed: %w", g.ID, errWrong)
		}
		last = g.ID
	}
	return nil
}

// compare holds an opened cache against what must be in it. With losses, some may be missing.
func (m *model) compare(s *Spool, losses bool) error {
	sent, acks := map[relay.ID]bool{}, map[relay.ID]bool{}
	for _, lane := range s.Lanes() {
		var list []*relay.Message
		for {
			part, err := s.Next(lane, 7, 8000)
			if err != nil {
				return err
			}
			if len(part) == 0 {
				break
			}
			list = append(list, part...)
		}
		if err := m.right(lane, list); err != nil {
			return err
		}
		for _, id := range idsOf(list) {
			sent[id] = true
		}
		waiting, err := s.Unsettled(lane, 0, 1<<20)
		if err != nil {
			return err
		}
		for _, a := range waiting {
			if st := m.ids[a.ID]; st == nil || !st.tryingAck || st.lane != lane || a.At.Offset != int64(a.ID) || sent[a.ID] {
				return fmt.Errorf("ack %+v of lane %v was never given: %w", a, lane, errWrong)
			}
			acks[a.ID] = true
		}
	}
	for id, st := range m.ids {
		switch {
		case losses || st.gone || !st.put:
		case st.acked && !acks[id]:
			return fmt.Errorf("the ack of %d is lost: %w", id, errWrong)
		case !sent[id] && !acks[id]:
			return fmt.Errorf("message %d is lost: %w", id, errWrong)
		case acks[id] && !st.tryingAck:
			return fmt.Errorf("message %d was never acked: %w", id, errWrong)
		}
	}
	return nil
}
