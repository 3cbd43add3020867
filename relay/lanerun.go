package relay

import (
	"context"
	"runtime"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

const (
	defaultPublishTimeout = 20 * time.Second
	checkEvery            = 10 * time.Second // how often a lonely lane with unknown answers asks Check
)

// runLane publishes the batches of one lane, one after the other, until work ends or the lane is gone.
func (s *session) runLane(work context.Context, l *lane) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for work.Err() == nil {
		s.mu.Lock()
		if l.gone {
			s.mu.Unlock()
			return
		}
		batch, refill, wait := s.flow.take(l, s.mayPublish(l, time.Now()), time.Now())
		pub := l.dest.pub
		var e errand
		if refill {
			e = s.flow.goes(l)
			e.next = true
		} else if batch == nil {
			e, refill = s.flow.tidy(l)
		}
		s.mu.Unlock()
		switch {
		case batch != nil:
			s.publish(work, l, pub, batch)
			continue
		case refill:
			s.visit(e)
			continue
		}
		if wait < 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-work.Done():
		case <-l.wake:
		case <-timer.C:
		}
	}
}

// publish presents one batch and resolves its answer.
func (s *session) publish(work context.Context, l *lane, pub Publisher, batch []*Message) {
	timeout := l.dest.PublishTimeout
	if timeout <= 0 {
		timeout = defaultPublishTimeout
	}
	if err := s.fetch(work, batch); err != nil {
		s.unsent(l, err)
		return
	}
	if kp.Enabled {
		go func() { runtime.Gosched(); kp.Hit(kp.Publishing) }()
	}
	if kp.Planted(kp.SettleBeforeAck) {
		s.settleUnseen(l, pub, batch, timeout)
		return
	}
	began := time.Now()
	// Never cancelled with work: a cancelled send may still be stored. The end of the ownership closes the sockets instead.
	call, cancel := context.WithTimeout(context.WithoutCancel(work), timeout)
	outcomes := pub.Publish(call, l.id, batch)
	cancel()
	took := time.Since(began)
	kp.Hit(kp.Published)
	if ev := s.opt.Events.Published; ev != nil && len(outcomes) == len(batch) {
		ev(l.dest.Name, l.id, batch, outcomes, took)
	}
	s.mu.Lock()
	s.flow.resolve(l, outcomes, took, time.Now())
	hungry := s.waiting || l.from != 0
	degraded := s.flow.degraded()
	lonely := l.maybe && len(l.open) > 0 && time.Since(l.checkedAt) >= checkEvery && l.dest.active() <= 1
	s.mu.Unlock()
	kp.Hit(kp.Answered)
	poke(s.wakeOut)
	poke(s.wakeDrain)
	if hungry {
		s.pokeReader()
	}
	if degraded {
		poke(s.wakeSpill)
	}
	for i := range outcomes {
		if outcomes[i].Fenced {
			s.cancel(ErrFenced)
			return
		}
	}
	if lonely {
		s.checkLonely(work, l, pub)
	}
}

// fetch brings payloads that were too large to come with their page.
func (s *session) fetch(ctx context.Context, batch []*Message) error {
	var ids []ID
	var missing []*Message
	for _, m := range batch {
		if m.NeedsFetch() {
			ids, missing = append(ids, m.ID), append(missing, m)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	s.fetching.Lock() // the port takes one Fetch at a time
	defer s.fetching.Unlock()
	call, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s.mu.Lock()
	lease := s.lease
	s.mu.Unlock()
	full, err := s.store.Fetch(call, lease, ids)
	if err != nil {
		return err
	}
	for i, m := range missing {
		m.Payload = full[i].Payload
	}
	return nil
}

// unsent puts a batch back whose payloads could not be fetched: no byte of it left.
func (s *session) unsent(l *lane, err error) {
	s.r.failed("fetch", err)
	if lost(err) {
		s.cancel(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.busy = false
	s.flow.setAsideKept(l)
	l.fails++
	l.retryAt = time.Now().Add(backoff(l.fails-1, retryInitial, 5*time.Second))
	l.dest.breaker.probing = false
	s.flow.putDown(l)
	if l.dest.draining {
		l.dest.poke()
	}
	poke(s.wakeOut)
	poke(s.wakeDrain)
}

// checkLonely asks the broker whether it is well, while the only active lane of its destination gets unknown answers: a healthy broker with one bad batch
// looks like a black hole otherwise.
func (s *session) checkLonely(work context.Context, l *lane, pub Publisher) {
	call, cancel := context.WithTimeout(work, 10*time.Second)
	_, err := pub.Check(call)
	cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	l.checkedAt = time.Now()
	switch {
	case err != nil:
		l.healthyAt = time.Time{}
	case l.healthyAt.IsZero():
		l.healthyAt = l.checkedAt
	}
}

// settleUnseen is a planted bug: the mark before the ack.
func (s *session) settleUnseen(l *lane, pub Publisher, batch []*Message, timeout time.Duration) {
	sent := make([]*Message, len(batch))
	for i, m := range batch {
		c := *m
		sent[i] = &c
	}
	acked := make([]Outcome, len(batch))
	for i := range acked {
		acked[i] = Outcome{Kind: Acked}
	}
	s.mu.Lock()
	s.flow.resolve(l, acked, 0, time.Now())
	l.busy = true
	s.mu.Unlock()
	poke(s.wakeOut)
	call, cancel := context.WithTimeout(context.Background(), timeout)
	pub.Publish(call, l.id, sent)
	cancel()
	s.mu.Lock()
	l.busy = false
	s.mu.Unlock()
}
