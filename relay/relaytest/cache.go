package relaytest

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/waybillmq/waybill/relay"
)

// Cache is a relay.Cache in memory, with faults on request. Its zero value takes everything. It never waits.
type Cache struct {
	Room int // messages that fit; 0 = any number

	mu     sync.Mutex
	lanes  map[relay.CacheLane]*cachedLane
	bad    map[relay.ID]bool
	closed bool
	puts   int
	kept   int
}

type cachedLane struct {
	messages map[relay.ID]*cachedMessage
	acks     map[relay.ID]relay.CachedAck
}

type cachedMessage struct {
	relay.Message
	taken bool
}

var _ relay.Cache = (*Cache)(nil)

// Begin drops the messages, as an ownership that begins does.
func (c *Cache) Begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lanes {
		clear(l.messages)
	}
}

// Damage makes a message unreadable. It may be there already, or come later.
func (c *Cache) Damage(id relay.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad == nil {
		c.bad = map[relay.ID]bool{}
	}
	c.bad[id] = true
}

// Close makes the cache unusable, as a disk that fails does.
func (c *Cache) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// Used is how many messages and acks were ever put.
func (c *Cache) Used() (messages, acks int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.puts, c.kept
}

func (c *Cache) lane(name relay.CacheLane) *cachedLane {
	l := c.lanes[name]
	if l == nil {
		l = &cachedLane{map[relay.ID]*cachedMessage{}, map[relay.ID]relay.CachedAck{}}
		if c.lanes == nil {
			c.lanes = map[relay.CacheLane]*cachedLane{}
		}
		c.lanes[name] = l
	}
	return l
}

func (c *Cache) size() (n int) {
	for _, l := range c.lanes {
		n += len(l.messages)
	}
	return n
}

// Put implements relay.Cache.
func (c *Cache) Put(_ relay.Lease, lane relay.CacheLane, batch []*relay.Message) (stored int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, relay.ErrCacheClosed
	}
	l := c.lane(lane)
	for i, m := range batch {
		if i > 0 && m.ID <= batch[i-1].ID {
			return i, errors.New("relaytest: put out of order")
		}
		if l.messages[m.ID] != nil {
			continue
		}
		if c.Room > 0 && c.size() >= c.Room {
			return i, relay.ErrCacheFull
		}
		l.messages[m.ID] = &cachedMessage{Message: asRead(m)}
		c.puts++
	}
	return len(batch), nil
}

// asRead is a message without what the router and the engine add.
func asRead(m *relay.Message) relay.Message {
	return relay.Message{ID: m.ID, MessageID: m.MessageID, Topic: m.Topic, Key: m.Key, Type: m.Type, ContentType: m.ContentType, Traceparent: m.Traceparent,
		Tracestate: m.Tracestate, Headers: slices.Clone(m.Headers), CreatedAt: m.CreatedAt, DeliverAfter: m.DeliverAfter, Payload: slices.Clone(m.Payload), Size: m.Size,
		Tombstone: m.Tombstone}
}

// Next implements relay.Cache.
func (c *Cache) Next(lane relay.CacheLane, maxMessages, maxBytes int) (batch []*relay.Message, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, relay.ErrCacheClosed
	}
	l := c.lane(lane)
	for _, id := range slices.Sorted(maps.Keys(l.messages)) {
		m := l.messages[id]
		if m.taken {
			continue
		}
		if c.bad[id] {
			for other := range l.messages {
				if other >= id {
					delete(l.messages, other)
				}
			}
			return batch, &relay.CacheDamageError{Lane: lane, From: id, Err: errors.New("damaged")}
		}
		if n := m.Weight(); len(batch) > 0 && (len(batch) >= maxMessages || n > maxBytes) {
			break
		}
		m.taken = true
		maxBytes -= m.Weight()
		out := asRead(&m.Message)
		batch = append(batch, &out)
	}
	return batch, nil
}

// Rewind implements relay.Cache.
func (c *Cache) Rewind(lane relay.CacheLane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.lane(lane).messages {
		m.taken = false
	}
}

// Has implements relay.Cache.
func (c *Cache) Has(lane relay.CacheLane, id relay.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lane(lane)
	_, acked := l.acks[id]
	return acked || l.messages[id] != nil
}

// Forget implements relay.Cache.
func (c *Cache) Forget(lane relay.CacheLane, ids []relay.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lane(lane)
	for _, id := range ids {
		delete(l.messages, id)
		delete(l.acks, id)
	}
}

// Drop implements relay.Cache.
func (c *Cache) Drop(lane relay.CacheLane) (lowest relay.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.lane(lane)
	for id := range l.messages {
		if lowest == 0 || id < lowest {
			lowest = id
		}
	}
	clear(l.messages)
	return lowest
}

// Acked implements relay.Cache.
func (c *Cache) Acked(lease relay.Lease, lane relay.CacheLane, acks []relay.CachedAck) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return relay.ErrCacheClosed
	}
	l := c.lane(lane)
	for _, a := range acks {
		if _, there := l.acks[a.ID]; !there {
			a.Epoch = lease.Epoch
			l.acks[a.ID] = a
			c.kept++
		}
		delete(l.messages, a.ID)
	}
	return nil
}

// Unsettled implements relay.Cache.
func (c *Cache) Unsettled(lane relay.CacheLane, after relay.ID, limit int) (acks []relay.CachedAck, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, relay.ErrCacheClosed
	}
	l := c.lane(lane)
	for _, id := range slices.Sorted(maps.Keys(l.acks)) {
		if id > after && len(acks) < limit {
			acks = append(acks, l.acks[id])
		}
	}
	return acks, nil
}

// Lanes implements relay.Cache.
func (c *Cache) Lanes() (names []relay.CacheLane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, l := range c.lanes {
		if len(l.messages)+len(l.acks) > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b relay.CacheLane) int {
		return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Lane.Topic, b.Lane.Topic), cmp.Compare(a.Lane.Index, b.Lane.Index))
	})
	return names
}

// Remember implements relay.Cache.
func (c *Cache) Remember(relay.Epoch, relay.ID) error { return nil }

// Status implements relay.Cache.
func (c *Cache) Status() (st relay.CacheStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		st.Closed = relay.ErrCacheClosed
	}
	byName := map[string]*relay.CachedDestination{}
	for name, l := range c.lanes {
		d := byName[name.Destination]
		if d == nil {
			d = &relay.CachedDestination{Name: name.Destination}
			byName[name.Destination] = d
		}
		d.Acks += len(l.acks)
		for id, m := range l.messages {
			d.Messages++
			d.Bytes += int64(m.Weight())
			if d.Oldest == 0 || id < d.Oldest {
				d.Oldest = id
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if d := byName[name]; d.Messages+d.Acks > 0 {
			st.Destinations = append(st.Destinations, *d)
		}
	}
	return st
}
