package relay

import "time"

// place is where the engine keeps a message while it owns it; guarded by the engine's lock, but for route and held, which never change once set.
type place struct {
	page     *livePage // of the main flow; nil for a message taken from held
	row      int32
	state    rowState
	maybe    bool // its last answer says that it may be stored
	route    *Route
	held     *heldPlace // nil for the main flow
	cachedIn *lane      // handed out by the cache, which still has it; nil = was not
}

// heldPlace is what a message taken from held brings along.
type heldPlace struct {
	HeldMessage
	counted bool // among the flying messages of its closed key
	headed  bool // it was the head of its key, which counts it as leaving
}

// rowState is where a row that was read and claimed stands.
type rowState uint8

const (
	rowDropped  rowState = iota // let go unsent: some later read brings it again
	rowQueued                   // in the queue of a lane, or in its open batch
	rowResolved                 // acked or to be held, on its way to the store
	rowSettled
)

// livePage is a page of the main flow, kept until nothing can list its settled rows again.
type livePage struct {
	msgs   []Message
	left   int   // rows neither settled nor dropped
	ended  int64 // number of reads begun when left reached 0
	lo, hi ID
	at     time.Time // when its rows were placed
}

// livePages remembers which ids are in the engine's hands. A read may return an id that was pending in its snapshot and has been settled since: so a page
// whose last row was settled stays until every list of ids that is older than that settlement has been handled.
type livePages struct {
	pages []*livePage
	reads int64 // reads begun
}

// newLivePage takes over a page that was claimed. Its rows start as dropped, until they are placed.
func newLivePage(msgs []Message, at time.Time) *livePage {
	return &livePage{msgs: msgs, lo: msgs[0].ID, hi: msgs[len(msgs)-1].ID, at: at}
}

// find returns the message of an id that is queued, on its way to the store, or settled; nil when the engine does not have it.
func (p *livePages) find(id ID) *Message {
	for _, page := range p.pages {
		if id < page.lo || id > page.hi {
			continue
		}
		lo, hi := 0, len(page.msgs)
		for lo < hi {
			if mid := (lo + hi) / 2; page.msgs[mid].ID < id {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo < len(page.msgs) && page.msgs[lo].ID == id && page.msgs[lo].state != rowDropped {
			return &page.msgs[lo]
		}
	}
	return nil
}

// highest is the highest id of any live page.
func (p *livePages) highest() ID {
	var hi ID
	for _, page := range p.pages {
		hi = max(hi, page.hi)
	}
	return hi
}

// lowest is the lowest id that is neither settled nor dropped; 0 = none.
func (p *livePages) lowest() ID {
	var low ID
	for _, page := range p.pages {
		for i := range page.msgs {
			if s := page.msgs[i].state; s == rowQueued || s == rowResolved {
				if low == 0 || page.msgs[i].ID < low {
					low = page.msgs[i].ID
				}
				break
			}
		}
	}
	return low
}

// set moves a row to a state. Rows of held messages have no page.
func (p *livePages) set(m *Message, s rowState) {
	was := m.state
	m.state = s
	if m.page == nil {
		return
	}
	wasIn, isIn := was == rowQueued || was == rowResolved, s == rowQueued || s == rowResolved
	switch {
	case isIn && !wasIn:
		m.page.left++
	case wasIn && !isIn:
		if m.page.left--; m.page.left == 0 {
			m.page.ended = p.reads
		}
	}
	if s != rowQueued {
		m.Payload = nil // the page may stay for a while, its bytes need not
	}
}

// forgetSettled lets settled rows be read again.
func (p *livePages) forgetSettled() {
	for _, page := range p.pages {
		for i := range page.msgs {
			if page.msgs[i].state == rowSettled {
				page.msgs[i].state = rowDropped
			}
		}
	}
}

// purge forgets ended pages that no list of ids from read number `listed` on can contain.
func (p *livePages) purge(listed int64) {
	kept := p.pages[:0]
	for _, page := range p.pages {
		if page.left > 0 || page.ended >= listed {
			kept = append(kept, page)
		}
	}
	clear(p.pages[len(kept):])
	p.pages = kept
}
