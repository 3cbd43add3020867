package relaytest

import (
	"maps"
	"slices"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Pending returns the ids of message_pending, ascending.
func (db *Database) Pending() []relay.ID {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Clone(db.pending)
}

// HeldRows returns the rows of message_held by id.
func (db *Database) HeldRows() []HeldRow {
	db.mu.Lock()
	defer db.mu.Unlock()
	rows := make([]HeldRow, 0, len(db.held))
	for _, id := range slices.Sorted(maps.Keys(db.held)) {
		rows = append(rows, *db.held[id])
	}
	return rows
}

// Receipts returns the stored receipts in the order of writing.
func (db *Database) Receipts() []StoredReceipt {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Clone(db.receipts)
}

// Discarded returns the ids that people gave up, ascending.
func (db *Database) Discarded() []relay.ID {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Sorted(maps.Keys(db.discarded))
}

// Attempts returns the failed tries in the order of writing.
func (db *Database) Attempts() []relay.Attempt {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Clone(db.attempts)
}

// Sent returns the ids that are marked sent, ascending: committed, neither pending nor held nor discarded.
func (db *Database) Sent() []relay.ID {
	db.mu.Lock()
	defer db.mu.Unlock()
	var sent []relay.ID
	for id := range db.log {
		_, waits := slices.BinarySearch(db.pending, id)
		_, gone := db.discarded[id]
		if !waits && !gone && db.held[id] == nil {
			sent = append(sent, id)
		}
	}
	slices.Sort(sent)
	return sent
}

// Messages returns every committed message in commit order.
func (db *Database) Messages() []relay.Message {
	db.mu.Lock()
	defer db.mu.Unlock()
	messages := make([]relay.Message, 0, len(db.committed))
	for _, id := range db.committed {
		messages = append(messages, db.message(id))
	}
	return messages
}

// Aborted returns the messages of transactions that rolled back or that a crash took back, without message ids of their own making.
func (db *Database) Aborted() []relay.Message {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Clone(db.aborted)
}

// Owner tells who owns the outbox.
type Owner struct {
	Epoch    relay.Epoch
	Owner    string
	Until    time.Time // database time
	Released bool
	Quiet    time.Time // database time: no byte to an unfenced destination before it
	Claimed  relay.ID
	Progress relay.Progress
}

// Owner returns the owner row.
func (db *Database) Owner() Owner {
	db.mu.Lock()
	defer db.mu.Unlock()
	o := db.owner
	return Owner{o.epoch, o.owner, o.until, o.released, o.quiet, db.claimed, o.progress}
}
