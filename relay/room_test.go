package relay

import (
	"testing"
	"time"
)

// What was acked keeps neither its payload, which nobody needs any more, nor, in a lane that has become idle, the page it came with.
func TestAckedMessagesAreLetGo(t *testing.T) {
	f, l := shutFlow(2, "a", "b")
	sent := append([]*Message(nil), l.open...)
	for _, m := range sent {
		m.page = newLivePage([]Message{{ID: m.ID}}, time.Now())
		m.Payload = []byte("payload")
	}
	f.resolve(l, []Outcome{{Kind: Acked}, {Kind: Unknown, Class: ClassTimeout}}, 0, time.Now())
	if sent[0].Payload != nil || sent[1].Payload == nil {
		t.Errorf("payloads after an ack and an unknown answer: %q, %q", sent[0].Payload, sent[1].Payload)
	}
	f.resolve(l, []Outcome{{Kind: Acked}}, 0, time.Now())
	for i, m := range l.open[:cap(l.open)] {
		if m != nil {
			t.Errorf("an idle lane keeps message %d in place %d of its last batch", m.ID, i)
		}
	}
}

// The bound on what was read and not acked counts pages that wait for their claim.
func TestUnclaimedPagesTakeRoom(t *testing.T) {
	page := &Page{Messages: []Message{{ID: 1, Size: 1000}, {ID: 2, Size: 1000}}}
	for _, c := range []struct {
		name        string
		rows, bytes int
		pages       int
		full        bool
	}{
		{"room for both", 5, 1 << 20, 2, false},
		{"rows", 4, 1 << 20, 2, true},
		{"bytes", 100, 3000, 2, true},
		{"one page is less", 4, 3000, 1, false},
	} {
		opt := Defaults()
		opt.Ahead, opt.AheadBytes = c.rows, c.bytes
		f := &flow{opt: &opt, out: &group{}}
		for range c.pages {
			f.unplaced = append(f.unplaced, newUnplaced(page))
		}
		if f.full(time.Now()) != c.full {
			t.Errorf("%s: full %v", c.name, !c.full)
		}
	}
}
