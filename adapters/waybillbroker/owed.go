package waybillbroker

import (
	"slices"
	"sync"

	"github.com/waybillmq/waybill/relay"
)

// owed says in whose ledgers an id stands: what is settled is told by id alone, and there may be very many partitions.
type owed struct {
	mu sync.Mutex
	in map[relay.ID]ledgers
}

// ledgers are almost always one: an id stands in two when the number of partitions, or a route, changed after it was stored.
type ledgers struct {
	first *partition
	more  []*partition
}

func (o *owed) add(id relay.ID, part *partition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.in[id]
	switch {
	case l.first == nil:
		l.first = part
	case l.first != part && !slices.Contains(l.more, part):
		l.more = append(l.more, part)
	}
	o.in[id] = l
}

// settled forgets an id and returns where it stood.
func (o *owed) settled(id relay.ID) ledgers {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.in[id]
	delete(o.in, id)
	return l
}
