package waybillbroker

import (
	"slices"

	"github.com/waybillmq/waybill/relay"
)

// ledger is what one source has stored in one partition and the outbox may still send again, in the order of offsets. Pure; the partition's lock guards it.
type ledger struct {
	items []item
	by    map[relay.ID]int64 // offset of every item that is not settled
	floor int64              // everything of the source below it is settled; -1 = nothing is known
}

type item struct {
	offset int64
	id     relay.ID
}

func newLedger() *ledger { return &ledger{by: map[relay.ID]int64{}, floor: -1} }

// add takes note of a message that lies at offset and is not known to be settled. Offsets ascend, but for what was found after an unknown outcome.
func (l *ledger) add(id relay.ID, offset int64) {
	if _, known := l.by[id]; known || offset < l.floor {
		return
	}
	l.by[id] = offset
	at := len(l.items)
	if at > 0 && l.items[at-1].offset > offset {
		at, _ = slices.BinarySearchFunc(l.items, offset, func(x item, offset int64) int { return int(x.offset - offset) })
	}
	l.items = slices.Insert(l.items, at, item{offset, id})
}

// settle forgets a message that is durably marked sent, and raises the floor as far as nothing unsettled lies below it. It says whether the id was known.
func (l *ledger) settle(id relay.ID) bool {
	if _, known := l.by[id]; !known {
		return false
	}
	delete(l.by, id)
	n := 0
	for n < len(l.items) {
		if _, open := l.by[l.items[n].id]; open {
			break
		}
		l.floor = l.items[n].offset + 1
		n++
	}
	l.items = slices.Delete(l.items, 0, n)
	return true
}
