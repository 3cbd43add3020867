package rabbitmq

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// deafWindows is how many calls in a row may be nacked without an ack before the lane takes a new channel: one whose first message met an election keeps being
// nacked although the queue has a leader again.
const deafWindows = 3

// lane is a target's channel and what it has learned. A call holds it; two calls at once are a broken invariant.
type lane struct {
	p  *Publisher
	at relay.Lane

	mu   sync.Mutex // guards busy, and the fields below while no call runs
	busy bool

	// The running call owns these.
	ch           *channel // nil = none yet
	careful      bool     // the broker ended a channel over one of several messages: one at a time, to find which
	deaf         int      // calls in a row with nacks and without an ack
	missingSince time.Time
}

func (l *lane) enter() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		panic("rabbitmq: two batches at once in lane " + l.at.String())
	}
	l.busy = true
}

func (l *lane) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
}

// run presents one batch.
func (l *lane) run(ctx context.Context, batch []*relay.Message, out []relay.Outcome) {
	r := newRound(l, ctx, batch, out)
	for {
		if s, text := l.prepare(ctx, r.exchange); s != "" {
			r.unsent(s, text)
			break
		}
		r.adopt()
		if s, text := r.talk(); s != "" {
			r.unsent(s, text)
			break
		}
		if r.left == 0 {
			break
		}
	}
	r.finish()
}

// prepare makes sure that there is a connection, that the exchange exists, and that the lane has a channel; else it says why not.
func (l *lane) prepare(ctx context.Context, exchange string) (signal, string) {
	if ctx.Err() != nil {
		return sigLate, ""
	}
	if l.p.cfg.Trust != nil && !l.p.cfg.Trust() {
		return sigUntrusted, ""
	}
	if l.ch != nil && !l.ch.live() {
		l.ch = nil
	}
	g, err := l.p.generation(ctx)
	if err != nil {
		return because(ctx, err, sigDial)
	}
	if on, _, _ := g.alarm(); on {
		if l.ch == nil {
			return sigBlocked, ""
		}
		return "", "" // nothing is asked of a server that does not read; talk finds out what was confirmed meanwhile
	}
	if err := g.exists(ctx, exchange, l.p.cfg.Declare); err != nil {
		return because(ctx, err, sigLost)
	}
	if l.ch != nil {
		return "", ""
	}
	if l.ch, err = l.p.channelFor(ctx, l, g); err != nil {
		if g.alive() {
			return because(ctx, err, sigChannels)
		}
		return because(ctx, err, sigLost)
	}
	return "", ""
}

// because is what an error means; other is for one that says nothing of itself.
func because(ctx context.Context, err error, other signal) (signal, string) {
	var s *signalError
	switch {
	case errors.As(err, &s):
		return s.signal, s.text
	case ctx.Err() != nil:
		return sigLate, ""
	}
	return other, err.Error()
}

// returnedAs is what a return means here: behind the default exchange the whole lane has the same queue.
func (l *lane) returnedAs(exchange string) signal {
	if exchange != "" {
		return sigReturned
	}
	if l.missingSince.IsZero() {
		l.missingSince = time.Now()
	}
	if time.Since(l.missingSince) > l.p.missingAfter {
		return sigQueueMissing
	}
	return sigReturnedQueue
}

// maxOpenChannels is about how many channels a connection may have; a server allows 2,047.
const maxOpenChannels = 1024

// channelFor opens a channel for a lane within ctx; when there are too many, lanes that rest lose theirs.
func (p *Publisher) channelFor(ctx context.Context, l *lane, g *generation) (*channel, error) {
	p.makeRoom(l, g)
	type opened struct {
		ch  *channel
		err error
	}
	result := make(chan opened, 1)
	g.tasks.Go(func() {
		ch, err := openChannel(g, p.cfg.Window)
		result <- opened{ch, err}
	})
	select {
	case o := <-result:
		return o.ch, o.err
	case <-ctx.Done():
		g.tasks.Go(func() {
			if o := <-result; o.err == nil {
				_ = o.ch.amqp.Close()
			}
		})
		return nil, ctx.Err()
	}
}

// makeRoom takes channels away from lanes that rest, when there are too many.
func (p *Publisher) makeRoom(but *lane, g *generation) {
	p.lanesMu.Lock()
	defer p.lanesMu.Unlock()
	count := 0
	for _, l := range p.lanes {
		l.mu.Lock()
		switch {
		case l == but:
		case l.busy:
			count++
		case l.ch != nil && l.ch.gen == g:
			if count++; count >= p.mostChannels && len(l.ch.sent) == 0 {
				l.ch.letGo()
				l.ch = nil
				count--
			}
		}
		l.mu.Unlock()
	}
}
