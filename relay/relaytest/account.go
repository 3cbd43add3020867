package relaytest

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// EvidenceOf puts together what a run on a database and brokers in memory left behind. The oracle is the commit order of the database; a message that had a
// deliver-after time, no key, or that a person let pass has no place in it.
func EvidenceOf(db *Database, brokers ...*Broker) Evidence {
	e := Evidence{Fates: map[string]Fate{}, Receipts: map[string]Place{}}
	type key struct{ topic, key string }
	n, place := map[key]int64{}, map[string]int64{}
	messages := db.Messages()
	db.mu.Lock()
	for i := range messages {
		m := &messages[i]
		k := key{m.Topic, m.Key}
		n[k]++
		token := tokenOf(m)
		place[token] = n[k]
		f := Fact{Topic: m.Topic, Key: m.Key, N: n[k], Token: token, MessageID: m.MessageID, Sum: SumOf(m), Unordered: m.Key == "" || !m.DeliverAfter.IsZero()}
		h := db.held[m.ID]
		_, gone := db.discarded[m.ID]
		switch {
		case gone:
			e.Fates[token] = GivenUp
		case h != nil && h.Passed:
			e.Fates[token], f.Unordered = LetPass, true
		case h != nil && h.State == relay.Scheduled:
			e.Fates[token] = Postponed
		case h != nil:
			e.Fates[token] = Stuck
		}
		if _, passed := db.passed[m.ID]; passed {
			f.Unordered = true
		}
		e.Committed = append(e.Committed, f)
	}
	tokens := map[relay.ID]string{}
	for i := range messages {
		tokens[messages[i].ID] = tokenOf(&messages[i])
	}
	for _, id := range db.pending {
		e.Fates[tokens[id]] = Waits
	}
	for _, r := range db.receipts {
		for i, id := range r.IDs {
			p := Place{r.Lane, -1}
			if r.FirstOffset >= 0 {
				p.Offset = r.FirstOffset + int64(i)
			}
			e.Receipts[tokens[id]] = p
		}
	}
	for i := range db.aborted {
		e.Aborted = append(e.Aborted, db.generationOf(db.aborted[i].ID)+"-"+db.aborted[i].ID.String()+" "+string(db.aborted[i].Payload))
	}
	db.mu.Unlock()
	for _, b := range brokers {
		for _, r := range b.Records() {
			m := &r.Message
			token := tokenOf(m)
			e.Delivered = append(e.Delivered, Delivery{Topic: m.Topic, Key: m.Key, N: place[token], Token: token, MessageID: m.MessageID, Sum: SumOf(m),
				Lane: r.Lane.String(), Offset: r.Offset})
		}
	}
	return e
}

// tokenOf names a message by its id and its content: after a crash another message may draw the same id.
func tokenOf(m *relay.Message) string { return m.MessageID + " " + string(m.Payload) }

// SumOf digests what all copies of a message share.
func SumOf(m *relay.Message) (sum Sum) {
	h := sha256.New()
	put := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for _, s := range []string{m.Topic, m.Key, m.Type, m.ContentType, m.Traceparent, m.Tracestate, string(m.Payload)} {
		put(s)
	}
	if m.Tombstone {
		put("tombstone")
	}
	for _, header := range m.Headers {
		put(header.Name)
		put(header.Value)
	}
	h.Sum(sum[:0])
	return sum
}

// Check judges a run in memory and fails the test unless it is green and drained.
func Check(t testing.TB, bounds Bounds, db *Database, brokers ...*Broker) Verdict {
	t.Helper()
	v := Judge(EvidenceOf(db, brokers...), bounds)
	for _, f := range v.Flaws {
		t.Errorf("%s", f)
	}
	if v.Pending > 0 {
		t.Errorf("%d messages are still pending", v.Pending)
	}
	if !v.Green() || v.Pending > 0 {
		t.Errorf("%s", &v)
	}
	return v
}
