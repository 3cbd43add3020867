package dashboard

import (
	"sync"
	"time"
)

const (
	triesFree    = 10               // wrong passwords before tries have to wait
	triesLongest = time.Minute      // the longest wait: whoever guesses for somebody else keeps him out no longer
	triesForget  = 15 * time.Minute // after the last wrong one
	maxTried     = 1000             // names and addresses that are remembered
)

// throttle makes guessing slow: after some wrong passwords a name, or an address, has to wait, twice as long each time.
type throttle struct {
	mu sync.Mutex
	of map[string]*tried
}

type tried struct {
	wrong int
	last  time.Time
	until time.Time
}

// left says how long one of the keys has to wait.
func (t *throttle) left(keys []string) (longest time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		if x := t.of[k]; x != nil {
			longest = max(longest, time.Until(x.until))
		}
	}
	return longest
}

func (t *throttle) wrong(keys []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, k := range keys {
		x := t.of[k]
		if x == nil || now.Sub(x.last) > triesForget {
			t.makeRoom()
			x = &tried{}
			t.of[k] = x
		}
		x.wrong++
		x.last = now
		if n := x.wrong - triesFree; n >= 0 {
			x.until = now.Add(min(time.Second<<min(n, 10), triesLongest))
		}
	}
}

func (t *throttle) right(keys []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range keys {
		delete(t.of, k)
	}
}

// makeRoom forgets whoever was wrong longest ago.
func (t *throttle) makeRoom() {
	if len(t.of) < maxTried {
		return
	}
	oldest := ""
	for k, x := range t.of {
		if oldest == "" || x.last.Before(t.of[oldest].last) {
			oldest = k
		}
	}
	delete(t.of, oldest)
}
