package rabbitmq

import (
	"context"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/cloudevents"
	"github.com/waybillmq/waybill/relay"
)

// round is one call of a lane: a batch, what of it is on its way, and the outcomes so far.
type round struct {
	l        *lane
	ctx      context.Context
	batch    []*relay.Message
	out      []relay.Outcome
	exchange string
	win      *window
	open     []int  // sent and not decided, in the order of sending
	decided  []bool // by message
	left     int    // not decided
	acks     int
	nacks    int
	cut      bool // a channel ended and left something unknown
}

func newRound(l *lane, ctx context.Context, batch []*relay.Message, out []relay.Outcome) *round {
	r := &round{l: l, ctx: ctx, batch: batch, out: out, open: make([]int, 0, len(batch)), decided: make([]bool, len(batch)), left: len(batch)}
	r.exchange, _ = address(batch[0])
	r.win = newWindow(batch, l.p.cfg.Pipelined == nil || !l.p.cfg.Pipelined(l.at.Topic))
	return r
}

// adopt takes over what earlier calls sent through this channel and nobody has answered.
func (r *round) adopt() {
	if r.l.ch == nil {
		return
	}
	r.l.ch.keepOnly(r.batch)
	for i, m := range r.batch {
		if !r.decided[i] && r.l.ch.sent[m.ID] != nil {
			r.win.adopt(i)
			r.open = append(r.open, i)
		}
	}
}

// decide gives message i its outcome.
func (r *round) decide(i int, s signal, text string) {
	p := r.l.p
	switch s {
	case sigAck:
		r.acks++
		if !r.win.confirmed(i) {
			s = sigBehindAcked
		}
	case sigNack:
		p.refusals.Add(1)
		r.nacks++
		if full := p.queues.Load(); full != nil && (*full)[r.l.at.Topic] {
			s = sigNackFull
		}
	case sigReturned:
		p.returned.Add(1)
		s = r.l.returnedAs(r.exchange)
	case sigRefused:
		p.taken.Store(0) // it may be the size: the next Check tries again
	}
	if _, listed := rules[s]; !listed {
		p.unlistedErrors.Add(1)
	}
	r.set(i, s, text)
	if r.out[i].Kind != relay.Acked {
		for _, n := range r.win.fail(i) {
			r.set(n, sigBehind, "")
		}
	}
}

func (r *round) set(i int, s signal, text string) {
	r.out[i] = outcome(s, r.l.at.Topic, text)
	r.decided[i] = true
	r.left--
}

// unsent decides whatever was not sent.
func (r *round) unsent(s signal, text string) {
	for i := range r.batch {
		if !r.decided[i] {
			r.decide(i, s, text)
		}
	}
}

// talk sends and awaits until everything that may be sent is decided, or the channel ends: then stop says what that means for what was not sent; an empty stop
// means that the rest, if any, may go through another channel.
func (r *round) talk() (stop signal, text string) {
	for {
		on, since, changed := r.l.ch.alarmed()
		var hold signal
		switch {
		case on:
			hold = sigBlocked
		case r.l.p.cfg.Trust != nil && !r.l.p.cfg.Trust():
			hold = sigUntrusted
		case !r.fill():
			return r.ended()
		}
		if len(r.open) == 0 {
			return hold, ""
		}
		if over := r.await(on, since, changed); over != "" {
			return over, ""
		}
		r.sweep()
		if !r.l.ch.live() {
			return r.ended()
		}
	}
}

// fill sends what the window has room for; false when the channel is of no use any more.
func (r *round) fill() bool {
	c, limit := r.l.ch, r.l.p.cfg.Window
	if r.l.careful {
		limit = 1
	}
	for len(r.open) < limit && r.ctx.Err() == nil {
		i, ok := r.win.take()
		if !ok {
			return true
		}
		m := r.batch[i]
		exchange, routingKey := address(m)
		event, err := cloudevents.Message(m, eventPrefix)
		if err != nil {
			r.decide(i, sigInvalid, err.Error())
			continue
		}
		pub := publishing(event)
		if s, text := refusal(event, routingKey, &pub, c.gen.frameMax, r.l.p.cfg.MaxMessageBytes); s != "" {
			r.decide(i, s, text)
			continue
		}
		r.open = append(r.open, i)
		if c.publish(m, exchange, routingKey, pub) != nil {
			return false
		}
	}
	return true
}

// await waits until the oldest delivery is answered, or something else asks for attention. When the waiting is over it decides what is open and says what that
// means for the rest.
func (r *round) await(on bool, since time.Time, changed <-chan struct{}) (over signal) {
	d := r.l.ch.sent[r.batch[r.open[0]].ID]
	select {
	case <-d.confirm.Done(): // mostly; it needs no timer
		return ""
	default:
	}
	limit := d.at.Add(r.l.p.cfg.Timeouts.Confirm)
	switch {
	case on:
		limit = since.Add(alarmGrace)
	case since.After(d.at): // while there was an alarm, no time passed
		limit = since.Add(r.l.p.cfg.Timeouts.Confirm)
	}
	t := time.NewTimer(time.Until(limit))
	defer t.Stop()
	select {
	case <-d.confirm.Done():
		return ""
	case <-changed:
		return ""
	case <-r.ctx.Done():
		r.sweep()
		r.giveUp(sigTimeout) // the confirm may still come, and is looked for when the batch is presented again
		return sigLate
	case <-t.C:
	}
	r.sweep()
	if on {
		r.giveUp(sigAlarmed)
		return sigBlocked
	}
	if len(r.open) == 0 {
		return ""
	}
	r.l.p.names.Silent(r.l.ch.gen.socket.RemoteAddr())
	r.l.ch.gen.end()
	r.giveUp(sigTimeout)
	r.l.ch = nil
	return sigLost
}

// sweep decides every delivery that is answered, unless the channel ended: then the answers that it made up are ended's.
func (r *round) sweep() {
	c := r.l.ch
	kept := r.open[:0]
	for _, i := range r.open {
		id := r.batch[i].ID
		d := c.sent[id]
		select {
		case <-d.confirm.Done():
			if s := c.answer(id, d); s != sigCut {
				r.decide(i, s, "")
				continue
			}
			c.sent[id] = d
		default:
		}
		kept = append(kept, i)
	}
	r.open = kept
}

func (r *round) giveUp(s signal) {
	for _, i := range r.open {
		r.decide(i, s, "")
	}
	r.open = r.open[:0]
}

// ended decides what was on its way when the channel ended. The server's code speaks of one message when only one was not answered.
func (r *round) ended() (stop signal, text string) {
	c := r.l.ch
	if !c.live() {
		r.answered()
	} else { // a write failed: whatever the library thinks, this connection is over
		c.gen.end()
	}
	code, text := c.why()
	s := closing(code)
	if s == sigNoExchange {
		c.gen.forget(r.exchange, nil)
	}
	r.l.ch = nil
	if len(r.open) == 1 && c.ghosts == 0 && s != sigCut && c.sent[r.batch[r.open[0]].ID] != nil {
		r.decide(r.open[0], s, text)
		r.open = r.open[:0]
		if s == sigRefused {
			return "", "" // it alone: the others go on
		}
		return s, text
	}
	r.cut = r.cut || len(r.open) > 0
	r.l.careful = r.l.careful || s != sigCut
	r.giveUp(sigCut)
	return sigLost, ""
}

// answered decides what was acked right before the channel ended.
func (r *round) answered() {
	c := r.l.ch
	kept := r.open[:0]
	for _, i := range r.open {
		id := r.batch[i].ID
		if d := c.sent[id]; d != nil && d.confirm.Acked() {
			r.decide(i, c.answer(id, d), "")
			continue
		}
		kept = append(kept, i)
	}
	r.open = kept
}

// finish keeps what the lane has learned for its next call.
func (r *round) finish() {
	l := r.l
	if l.careful && !r.cut && r.left == 0 && len(r.open) == 0 {
		l.careful = r.doubtful()
	}
	switch {
	case r.acks > 0:
		l.deaf = 0
		l.missingSince = time.Time{}
	case r.nacks > 0:
		l.deaf++
	}
	if l.deaf >= deafWindows && l.ch != nil {
		l.ch.letGo()
		l.ch, l.deaf = nil, 0
		l.p.reopened.Add(1)
	}
}

// doubtful says whether something of the batch was not sent or is unknown: whoever ended the last channel may still be in it.
func (r *round) doubtful() bool {
	for i := range r.out {
		if k := r.out[i].Kind; k == relay.Unknown || k == relay.Unavailable && r.out[i].Scope != relay.ScopeKey {
			return true
		}
	}
	return false
}
