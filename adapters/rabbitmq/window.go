package rabbitmq

import "github.com/waybillmq/waybill/relay"

// window decides which messages of a batch may be sent when. Strict: of each key one message is unconfirmed at a time, and nothing behind a failed message of
// its key is sent. Pipelined: everything in order; what is behind a failed message of its key and not sent yet stays unsent. It does no I/O.
//
// Invariant: a message is handed out by take at most once, and never while, or after, an earlier message of its key has failed.
type window struct {
	next   []int32 // the next message of the same key; -1 = none
	state  []state
	ready  []int32 // may be sent, in the order of sending
	strict bool
}

type state uint8

const (
	waiting state = iota
	sent
	good
	failed
	behind // an earlier message of its key failed; may be combined with having been sent
)

func newWindow(batch []*relay.Message, strict bool) *window {
	w := &window{next: make([]int32, len(batch)), state: make([]state, len(batch)), ready: make([]int32, 0, len(batch)), strict: strict}
	last := make(map[relay.Key]int32, len(batch))
	for i, m := range batch {
		w.next[i] = -1
		k, keyed := m.OrderKey()
		before, follows := last[k]
		if keyed {
			if follows {
				w.next[before] = int32(i)
			}
			last[k] = int32(i)
		}
		if !strict || !keyed || !follows {
			w.ready = append(w.ready, int32(i))
		}
	}
	return w
}

// adopt says that message i was sent by an earlier call and may still be confirmed. It comes before the first take.
func (w *window) adopt(i int) { w.state[i] = sent }

// take hands out the next message that may be sent.
func (w *window) take() (i int, ok bool) {
	for len(w.ready) > 0 {
		i := int(w.ready[0])
		w.ready = w.ready[1:]
		if w.state[i] == waiting {
			w.state[i] = sent
			return i, true
		}
	}
	return 0, false
}

// confirmed says that message i is stored; false when an earlier message of its key failed, so that it must not count as stored yet.
func (w *window) confirmed(i int) bool {
	if w.state[i] == behind {
		return false
	}
	w.state[i] = good
	if n := w.next[i]; w.strict && n >= 0 {
		w.ready = append(w.ready, n)
	}
	return true
}

// fail says that message i is not stored, or not for certain: what follows it in its key must not be sent. It returns what was not sent yet of that; for those
// of it that were sent confirmed will be false.
func (w *window) fail(i int) (unsent []int) {
	if w.state[i] != behind {
		w.state[i] = failed
	}
	for n := w.next[i]; n >= 0; n = w.next[n] {
		if w.state[n] == waiting {
			unsent = append(unsent, int(n))
		}
		w.state[n] = behind
	}
	return unsent
}
