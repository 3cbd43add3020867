package relaytest

import (
	"slices"

	"github.com/waybillmq/waybill/relay"
)

// Tx is a business transaction. It is used by one goroutine. A crash of the database ends it: Commit then returns ErrDown.
type Tx struct {
	db    *Database
	rows  []relay.Message
	keys  []relay.Key
	xid   int64
	ended bool
	err   error
}

// Begin starts a transaction.
func (db *Database) Begin() *Tx {
	db.mu.Lock()
	defer db.mu.Unlock()
	tx := &Tx{db: db}
	if db.down {
		tx.ended, tx.err = true, ErrDown
		return tx
	}
	db.open[tx] = struct{}{}
	return tx
}

// Touch writes something that is not a message: from now on the transaction keeps holes open until it ends.
func (tx *Tx) Touch() {
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	tx.touch()
}

func (tx *Tx) touch() {
	if tx.xid == 0 && !tx.ended {
		tx.db.xid++
		tx.xid = tx.db.xid
	}
}

// Publish writes a message and returns its id, which is drawn at once; other transactions see the row after Commit. An empty key asks for no order. It waits
// while another open transaction holds the key, as outbox.publish does: in a test with one goroutine use Insert for overlapping transactions of one key.
// It returns 0 when the transaction has ended.
func (tx *Tx) Publish(topic, key, payload string) relay.ID {
	return tx.Write(relay.Message{Topic: topic, Key: key, Payload: []byte(payload)})
}

// Write is Publish of a whole message: Topic, Key, Payload or Tombstone, Headers, DeliverAfter, MessageID (empty = given by the outbox) and so on. A message id
// that was already used gives the id of the message that has it.
func (tx *Tx) Write(m relay.Message) relay.ID {
	key, ordered := m.OrderKey()
	if ordered {
		tx.lockKey(key)
	}
	return tx.Insert(m)
}

// Insert is a plain INSERT: no key lock, so that ids of a key may commit out of order.
func (tx *Tx) Insert(m relay.Message) relay.ID {
	db := tx.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if tx.ended {
		return 0
	}
	if m.Topic == "" {
		broken("a message without a topic")
	}
	tx.touch() // first the xid, then the id: that a hole stays empty rests on this
	m.ID = db.nextID()
	if id, used := db.ids[m.MessageID]; used && m.MessageID != "" {
		return id
	}
	m.Size = len(m.Payload)
	if m.Payload == nil && !m.Tombstone {
		m.Payload = []byte{}
	}
	m.CreatedAt = db.now()
	tx.rows = append(tx.rows, m)
	return m.ID
}

func (tx *Tx) lockKey(key relay.Key) {
	db := tx.db
	for {
		db.mu.Lock()
		holder := db.keyLocks[key]
		if holder == nil && !tx.ended {
			db.keyLocks[key] = tx
			tx.keys = append(tx.keys, key)
		}
		changed, ended := db.changed, tx.ended
		db.mu.Unlock()
		if holder == nil || holder == tx || ended {
			return
		}
		<-changed
	}
}

// Commit commits synchronously: the transaction and everything before it is durable. ErrDown: a crash ended it; nothing of it exists.
func (tx *Tx) Commit() error { return tx.commit(true) }

// CommitAsync commits with synchronous_commit=off: visible at once, gone after a crash unless something was flushed since.
func (tx *Tx) CommitAsync() error { return tx.commit(false) }

func (tx *Tx) commit(sync bool) error {
	db := tx.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if tx.ended {
		return tx.err
	}
	if n := len(tx.rows); n > 0 {
		rows := tx.rows
		for _, m := range rows {
			db.log[m.ID] = &row{m}
			db.addPending(m.ID)
			db.committed = append(db.committed, m.ID)
			if m.MessageID != "" {
				db.ids[m.MessageID] = m.ID
			}
		}
		db.wrote(func() {
			for _, m := range rows {
				delete(db.log, m.ID)
				db.dropPending(m.ID, m.ID)
				delete(db.ids, m.MessageID)
				db.aborted = append(db.aborted, m)
			}
			db.committed = slices.DeleteFunc(db.committed, func(id relay.ID) bool {
				return slices.ContainsFunc(rows, func(m relay.Message) bool { return m.ID == id })
			})
		})
		tx.rows = nil
		if db.asleep {
			db.notify()
		}
	}
	if sync {
		db.flush()
	}
	tx.end(nil)
	db.signal()
	return nil
}

// Rollback ends the transaction without a trace but its ids, which are never drawn again.
func (tx *Tx) Rollback() {
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	if !tx.ended {
		tx.end(nil)
		tx.db.signal()
	}
}

// end gives up what is left of the transaction; under the lock.
func (tx *Tx) end(err error) {
	tx.ended, tx.err = true, err
	tx.db.aborted = append(tx.db.aborted, tx.rows...)
	tx.rows = nil
	delete(tx.db.open, tx)
	for _, key := range tx.keys {
		delete(tx.db.keyLocks, key)
	}
}

// Send publishes one message in a transaction of its own, committed synchronously, and returns its id; 0 when the database is down.
func (db *Database) Send(topic, key, payload string) relay.ID {
	tx := db.Begin()
	id := tx.Publish(topic, key, payload)
	if tx.Commit() != nil {
		return 0
	}
	return id
}

// xmin returns the lowest transaction id that has not ended: everything below is committed or gone.
func (db *Database) xmin() int64 {
	low := db.xid + 1
	for tx := range db.open {
		if tx.xid != 0 && tx.xid < low {
			low = tx.xid
		}
	}
	return low
}

func (db *Database) notify() {
	for ch := range db.wakers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
