package bench

import (
	"fmt"
	"strconv"
	"sync/atomic"
)

// Every message of a run has one of keyCount keys, written as k000000 and so on.
const (
	keyCount  = 10_000
	keyDigits = 6
)

// sqlKey is the key of the row numbered g: neighbours have different keys, and every key comes again.
const sqlKey = `'k' || lpad((g * 7919 % 10000)::text, 6, '0')`

// keyIndex reads a key; false = not one of ours.
func keyIndex(key string) (int, bool) {
	if len(key) != 1+keyDigits || key[0] != 'k' {
		return 0, false
	}
	n, err := strconv.Atoi(key[1:])
	return n, err == nil && n >= 0 && n < keyCount
}

// witness counts what arrived: every id of a run once, the ids of a key ascending. Calls for one key, and for one id, must not run at the same time; all
// others may.
type witness struct {
	first   int64
	seen    []bool
	last    [keyCount]int64
	ordered bool // order is promised
	aside   int  // so many may be missing; set before verdict

	repeated, disordered, strange atomic.Int64
}

func newWitness(first, rows int64, ordered bool) *witness {
	return &witness{first: first, seen: make([]bool, rows), ordered: ordered}
}

// saw takes note of a message.
func (w *witness) saw(id int64, key string) {
	k, ok := keyIndex(key)
	at := id - w.first
	if !ok || at < 0 || at >= int64(len(w.seen)) {
		w.strange.Add(1)
		return
	}
	if w.seen[at] {
		w.repeated.Add(1)
		return
	}
	w.seen[at] = true
	if !w.ordered {
		return
	}
	if id < w.last[k] {
		w.disordered.Add(1)
	}
	w.last[k] = id
}

// verdict is nil when everything arrived once and in order. It must not run beside saw.
func (w *witness) verdict() error {
	lost := -w.aside
	for _, there := range w.seen {
		if !there {
			lost++
		}
	}
	repeated, disordered, strange := w.repeated.Load(), w.disordered.Load(), w.strange.Load()
	if lost == 0 && repeated == 0 && disordered == 0 && strange == 0 {
		return nil
	}
	return fmt.Errorf("of %d messages %d are lost, %d came twice, %d out of order and %d were never written: a wrong answer is no figure",
		len(w.seen), lost, repeated, disordered, strange)
}
