package kafka

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol/produce"
)

const (
	maxRequests     = 2       // out to one leader at a time
	maxSlowRequests = 2       // besides, for lanes that were slow: each travels alone
	maxRequestBytes = 2 << 20 // record sets of one request: what is larger leaves the processor's caches on its way (8 MiB cost a third more CPU per message)
	slowAnswer      = time.Second
)

// answer is what came back for one flight.
type answer struct {
	sig      signal
	sent     bool // bytes may have left
	answered bool // a broker spoke of this very partition
	offset   int64
	throttle time.Duration
	detail   string  // the broker's or the network's own words
	records  []int32 // indexes that the broker refused
	words    []string
}

// sender sends what the lanes of one leader have waiting: whatever waits when a request may leave travels together, without lingering. acks=all answers
// when the slowest partition is done, so a lane whose last answer took longer than slowAnswer travels alone until it is fast again. mu guards the fields
// below it and is never held across a call.
type sender struct {
	p      *Publisher
	leader int32

	mu        sync.Mutex
	fast      []*flight
	slow      []*flight
	requests  int
	slowCount int
	gathering bool // leave is about to run
}

// submit queues a flight; its done channel is closed when it is resolved.
func (s *sender) submit(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.lane.slow.Load() {
		s.slow = append(s.slow, f)
	} else {
		s.fast = append(s.fast, f)
	}
	if s.gathering || !s.mayLeave() {
		return
	}
	s.gathering = true
	s.p.tasks.Go(s.leave)
}

// leave begins the requests that may leave. Lanes that are about to submit come along: a page wakes several lanes of a leader at once.
func (s *sender) leave() {
	runtime.Gosched()
	s.mu.Lock()
	s.gathering = false
	var first load
	for s.mayLeave() {
		l := s.next()
		if first.flights == nil {
			first = l
			continue
		}
		s.p.tasks.Go(func() { s.run(l) })
	}
	s.mu.Unlock()
	s.run(first)
}

// withdraw takes a flight back out of the queue and says whether it was still there.
func (s *sender) withdraw(f *flight) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range []*[]*flight{&s.fast, &s.slow} {
		for i, have := range *q {
			if have == f {
				*q = append((*q)[:i], (*q)[i+1:]...)
				return true
			}
		}
	}
	return false
}

// load is what one request carries.
type load struct {
	flights []*flight
	slow    bool
}

// mayLeave says whether something waits that has a request free. mu is held.
func (s *sender) mayLeave() bool {
	return len(s.fast) > 0 && s.requests < maxRequests || len(s.slow) > 0 && s.slowCount < maxSlowRequests
}

// next takes the flights of the next request. mu is held, and one may leave.
func (s *sender) next() load {
	if len(s.fast) > 0 && s.requests < maxRequests {
		n, size := 0, 0
		for n < len(s.fast) {
			size += recordBytes(s.fast[n].buf)
			if n > 0 && size > maxRequestBytes {
				break
			}
			n++
		}
		flights := append([]*flight(nil), s.fast[:n]...)
		rest := copy(s.fast, s.fast[n:])
		clear(s.fast[rest:])
		s.fast = s.fast[:rest]
		s.requests++
		return load{flights: flights}
	}
	f := s.slow[0]
	s.slow = append(s.slow[:0], s.slow[1:]...)
	s.slowCount++
	return load{flights: []*flight{f}, slow: true}
}

// run sends one request after the other until nothing waits; it may begin with none, when all that waited was withdrawn.
func (s *sender) run(l load) {
	for len(l.flights) > 0 {
		s.round(l.flights)
		s.mu.Lock()
		if l.slow {
			s.slowCount--
		} else {
			s.requests--
		}
		if l = (load{}); s.mayLeave() {
			l = s.next()
		}
		s.mu.Unlock()
	}
}

// round is one request and the resolution of its flights.
func (s *sender) round(flights []*flight) {
	t := s.p.cfg.Timeouts
	ctx, cancel := context.WithTimeout(s.p.calls.Context(), t.Publish)
	defer cancel()
	begun := time.Now()
	m, err := s.p.transport.RoundTrip(ctx, s.p.bootstrap, request(s.leader, int32(t.Broker.Milliseconds()), flights))
	slow := time.Since(begun) > slowAnswer
	for _, f := range flights {
		f.lane.slow.Store(slow)
	}
	if err != nil {
		for _, f := range flights {
			f.resolve(s.p.failed(f, err))
		}
		return
	}
	resolve(flights, m.(*produce.Response))
}

// failed sorts an error of the transport by what may have left the machine.
func (p *Publisher) failed(f *flight, err error) answer {
	a := answer{sig: sigCut, sent: !f.withdraw(), detail: reason(err)}
	var timeout net.Error
	switch {
	case !a.sent:
		a.sig = sigDial
		if r := p.dialer.refusal(err); r != nil {
			a.sig, a.detail = r.sig, r.addr+": "+r.words
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		a.sig = sigTimeout
	}
	return a
}

// resolve hands each flight the part of the answer that speaks of its partition.
func resolve(flights []*flight, res *produce.Response) {
	throttle := time.Duration(res.ThrottleTimeMs) * time.Millisecond
	open := len(flights)
	hint := 0
	done := make([]bool, len(flights))
	for i := range res.Topics {
		for j := range res.Topics[i].Partitions {
			p := &res.Topics[i].Partitions[j]
			for n := 0; n < len(flights); n++ {
				k := (hint + n) % len(flights)
				f := flights[k]
				if done[k] || f.lane.at.Index != p.Partition || f.lane.at.Topic != res.Topics[i].Topic {
					continue
				}
				hint, done[k] = k+1, true
				open--
				f.resolve(spoken(p, throttle))
				break
			}
		}
	}
	for k, f := range flights {
		if open > 0 && !done[k] {
			f.resolve(answer{sig: sigNoAnswer, sent: true, throttle: throttle})
		}
	}
}

func spoken(p *produce.ResponsePartition, throttle time.Duration) answer {
	a := answer{sig: signal(p.ErrorCode), sent: true, answered: true, offset: p.BaseOffset, throttle: throttle, detail: p.ErrorMessage}
	for _, e := range p.RecordErrors {
		a.records = append(a.records, e.BatchIndex)
		a.words = append(a.words, e.BatchIndexErrorMessage)
	}
	return a
}

// reason is an error's text on one line, bounded: it is stored and shown.
func reason(err error) string {
	const most = 300
	text := []byte(err.Error())
	for i, c := range text {
		if c < ' ' {
			text[i] = ' '
		}
	}
	if len(text) > most {
		text = append(text[:most:most], "…"...)
	}
	return string(text)
}
