package waybillbroker

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/relay"
)

// source is one generation of the outbox's ids.
type source struct {
	from relay.ID
	id   broker.SourceID
}

// sourcesOf reads the generations. A uuid that is none is a broken database, and met by Open.
func sourcesOf(generations []relay.Generation) (list []source, err error) {
	for _, g := range generations {
		raw, err := hex.DecodeString(strings.ReplaceAll(g.UUID, "-", ""))
		if err != nil || len(raw) != 16 {
			return nil, fmt.Errorf("the outbox names its ids from %d on %q, which is no uuid", g.From, g.UUID)
		}
		list = append(list, source{g.From, broker.SourceID(raw)})
	}
	return list, nil
}

// of is the index of the source whose ids an id is of.
func of(list []source, id relay.ID) int {
	at := 0
	for i := range list {
		if list[i].from <= id {
			at = i
		}
	}
	return at
}

// topic is what is known of one topic while the publisher lives.
type topic struct {
	name  string
	parts []*partition

	load   sync.Mutex // one goroutine asks what the partitions remember
	loaded bool       // guarded by load

	mu    sync.Mutex
	found map[relay.ID]place // stored before this publisher, and not settled: never sent again
}

// place is where a message was found.
type place struct {
	partition int32
	offset    int64
	sum       uint32
}

// partition is the state of one lane, for each source.
type partition struct {
	topic *topic
	index int32

	mu     sync.Mutex
	seq    []uint64  // of the last request
	ledger []*ledger // what is stored and not settled
	doubt  []relay.ID
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum checks that an id still names the same message.
func sum(m *relay.Message) uint32 {
	s := crc32.Update(0, castagnoli, []byte(m.MessageID))
	s = crc32.Update(s, castagnoli, []byte{0})
	s = crc32.Update(s, castagnoli, []byte(m.Key))
	s = crc32.Update(s, castagnoli, []byte{0})
	return crc32.Update(s, castagnoli, m.Payload)
}

// remember asks every partition of a topic what it remembers, those included that no key maps to now: their number may have changed since it was stored.
func (p *Publisher) remember(ctx context.Context, t *topic, epoch uint64) error {
	t.load.Lock()
	defer t.load.Unlock()
	if t.loaded {
		return nil
	}
	for _, part := range t.parts {
		for i := range p.sources {
			if err := p.ask(ctx, part, i, epoch); err != nil {
				return err
			}
		}
	}
	t.loaded = true
	return nil
}

// ask learns what a partition remembers of a source: what the outbox has not marked sent is never sent again, and holds the floor. The number that the answer carries
// is one more than the last that was applied, and ends all up to it. Requests of ours with higher ones may still be on their way, and would be stored after an answer
// that does not know them: so it asks until the number is above all of ours.
func (p *Publisher) ask(ctx context.Context, part *partition, source int, epoch uint64) error {
	part.mu.Lock()
	sent := part.seq[source]
	part.mu.Unlock()
	var state broker.CursorState
	for asked := false; !asked || state.Seq <= sent; asked = true {
		var err error
		if state, err = p.cfg.Broker.SourceState(ctx, p.sources[source].id, epoch, part.topic.name, part.index); err != nil {
			return err
		}
	}
	ids := make([]relay.ID, len(state.Stored))
	for i, s := range state.Stored {
		ids[i] = relay.ID(s.ID)
	}
	open := map[relay.ID]bool{}
	if len(ids) > 0 {
		unsettled, err := p.cfg.Unsettled(ctx, ids)
		if err != nil {
			return fmt.Errorf("ask the outbox what it has marked sent: %w", err)
		}
		for _, id := range unsettled {
			open[id] = true
		}
	}
	part.mu.Lock()
	defer part.mu.Unlock()
	part.topic.mu.Lock()
	defer part.topic.mu.Unlock()
	part.seq[source] = state.Seq
	l := part.ledger[source]
	for _, s := range state.Stored {
		id := relay.ID(s.ID)
		if open[id] {
			l.add(id, s.Offset)
			p.owed.add(id, part)
			part.topic.found[id] = place{part.index, s.Offset, s.Sum}
		}
	}
	return nil
}
