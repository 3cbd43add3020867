package relay

import (
	"sync"
	"time"
)

// Status is what the relay knows of itself, for health, metrics and people. Cheap enough for every few seconds; safe for concurrent use.
type Status struct {
	Owner        bool
	Epoch        Epoch
	Trust        time.Duration // left of the lease as this relay believes in it; 0 = none
	Refused      error         // this database may not be relayed until a person has decided
	Failure      error         // of the newest try to acquire
	LowWater     ID
	ReadUpTo     ID
	Ahead        int // messages read and not yet acked
	AheadBytes   int
	Holes        int
	OldestHole   time.Time
	ClosedKeys   int
	NoRoute      ID // lowest id that no route matches; 0 = none
	Destinations []DestinationState
	Beats        map[string]time.Time // last progress of each loop that is at work
}

// DestinationState is the state of one destination.
type DestinationState struct {
	Name        string
	Open        bool // Open succeeded under this epoch
	BreakerOpen bool
	Since       time.Time          // of the breaker or the pause
	Paused      bool               // by a config outcome
	Stopped     *PausedDestination // by a person; nil = not
	Fault       Outcome            // why; when neither: of the lane that is refused most often in a row
	Topics      map[string]Outcome
	Lanes       int
	LanesBehind int
	Refused     int // lanes whose batch was refused more than once in a row
	Queued      int
	Cached      int       // messages in the degraded cache
	CachedBytes int64     // of them
	CacheFull   time.Time // since when the cache takes nothing more of this destination; zero = it does
	InFlight    int
	Oldest      time.Time // writing time of the oldest message in its lanes; zero = none
}

// Status reports the present state.
func (r *Relay) Status() Status {
	r.mu.Lock()
	s := r.session
	st := Status{Refused: r.refused, Failure: r.lastErr, Beats: r.beats.all()}
	r.mu.Unlock()
	if s == nil {
		return st
	}
	s.mu.Lock()
	cache := s.flow.cache
	s.mu.Unlock()
	cached := map[string]CachedDestination{}
	if cache != nil {
		for _, d := range cache.Status().Destinations {
			cached[d.Name] = d
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.flow
	st.Owner, st.Epoch, st.Trust = true, s.lease.Epoch, max(time.Until(s.until), 0)
	st.LowWater, st.ReadUpTo, st.Ahead, st.AheadBytes = f.lowWater(), f.mainAfter, f.ahead, f.aheadBytes
	st.Holes, st.OldestHole, st.ClosedKeys, st.NoRoute = f.holes, f.oldestHole, len(f.keys.keys), f.noRoute
	for _, d := range f.dests {
		ds, c := d.state(), cached[d.Name]
		ds.Cached, ds.CachedBytes, ds.CacheFull = c.Messages, c.Bytes, c.FullAt
		st.Destinations = append(st.Destinations, ds)
	}
	return st
}

func (d *destination) state() DestinationState {
	ds := DestinationState{Name: d.Name, Open: d.opened, BreakerOpen: d.breaker.open, Paused: d.paused.active(), Stopped: d.stopped, Lanes: len(d.order)}
	switch {
	case ds.Paused:
		ds.Since, ds.Fault = d.paused.since, d.paused.cause
	case ds.BreakerOpen:
		ds.Since, ds.Fault = d.breaker.since, d.lastFault
	}
	for topic, p := range d.topics {
		if p.active() {
			if ds.Topics == nil {
				ds.Topics = map[string]Outcome{}
			}
			ds.Topics[topic] = p.cause
		}
	}
	worst := 1
	for _, l := range d.order {
		if l.from != 0 {
			ds.LanesBehind++
		}
		if l.fails > 1 {
			ds.Refused++
		}
		if l.fails > worst && !ds.Paused && !ds.BreakerOpen {
			worst, ds.Fault = l.fails, l.fault
		}
		ds.Queued += len(l.queue) + len(l.tail)
		ds.InFlight += len(l.open)
		for _, q := range [][]*Message{l.open, l.queue} {
			if len(q) > 0 && (ds.Oldest.IsZero() || q[0].CreatedAt.Before(ds.Oldest)) {
				ds.Oldest = q[0].CreatedAt
			}
		}
	}
	return ds
}

// beats remembers when each loop that is at work last made progress. A loop that waits for something to do is not listed.
type beats struct{ last *sync.Map }

func newBeats() beats { return beats{&sync.Map{}} }

func (b beats) beat(loop string) { b.last.Store(loop, time.Now()) }

func (b beats) rest(loop string) { b.last.Delete(loop) }

func (b beats) all() map[string]time.Time {
	all := map[string]time.Time{}
	b.last.Range(func(k, v any) bool { all[k.(string)] = v.(time.Time); return true })
	return all
}
