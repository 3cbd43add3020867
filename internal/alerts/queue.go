package alerts

import (
	"slices"
	"time"
)

const (
	mostTries   = 8
	firstPause  = 14 * time.Second // doubling: eight tries take half an hour
	mostWaiting = 1000
)

// queue holds what is still to be posted, one event for each alert: the newest. The zero queue is empty.
type queue struct{ waiting []waiting }

type waiting struct {
	Event
	tries int       // that failed
	next  time.Time // not before
}

// put adds an event, or lets it replace the older one of its alert. False: there are too many.
func (q *queue) put(e Event) bool {
	i := q.find(e.ID())
	switch {
	case i < 0 && len(q.waiting) >= mostWaiting:
		return false
	case i < 0:
		q.waiting = append(q.waiting, waiting{Event: e, next: e.At})
	default: // with all its tries; the receiver is as it is, so the pause goes on
		q.waiting[i].Event, q.waiting[i].tries = e, 0
	}
	return true
}

func (q *queue) find(id string) int {
	return slices.IndexFunc(q.waiting, func(w waiting) bool { return w.ID() == id })
}

// take removes the event that is due first. Without one it returns how long the next one has time; below 0 = there is none.
func (q *queue) take(now time.Time) (w waiting, wait time.Duration, ok bool) {
	if len(q.waiting) == 0 {
		return w, -1, false
	}
	first := 0
	for i := range q.waiting {
		if q.waiting[i].next.Before(q.waiting[first].next) {
			first = i
		}
	}
	if wait = q.waiting[first].next.Sub(now); wait > 0 {
		return w, wait, false
	}
	w = q.waiting[first]
	q.waiting = slices.Delete(q.waiting, first, first+1)
	return w, 0, true
}

// again keeps an event whose post failed. False: it was the last try. share, from 0 to 1, shortens the pause by up to a fifth, so that relays do not come at once.
func (q *queue) again(w waiting, now time.Time, share float64) bool {
	w.tries++
	pause := firstPause << (w.tries - 1)
	w.next = now.Add(pause - time.Duration(share*float64(pause)/5))
	if i := q.find(w.ID()); i >= 0 { // a newer event came while this one was on its way: it inherits the pause
		q.waiting[i].next = w.next
		return true
	}
	if w.tries >= mostTries {
		return false
	}
	q.waiting = append(q.waiting, w)
	return true
}
