package checker

import (
	"context"
	"fmt"
	"net/url"

	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
)

// Link is how a relay loses its database while it goes on and reaches its broker.
type Link string

// The links.
const (
	NoRequests Link = "requests" // what it says waits, and arrives when another owns the outbox
	NoAnswers  Link = "answers"  // its statements are carried out, and it does not hear so
	NoLink     Link = "both"
)

var links = []Link{NoLink, NoAnswers, NoRequests}

// hold stops what the link stops, and returns what lets it go on.
func (l Link) hold(p *tcpproxy.Proxy) (release func()) {
	var held []tcpproxy.Direction
	if l != NoAnswers {
		held = append(held, tcpproxy.Request)
	}
	if l != NoRequests {
		held = append(held, tcpproxy.Answer)
	}
	for _, d := range held {
		p.Hold(d)
	}
	return func() {
		for _, d := range held {
			p.Release(d)
		}
	}
}

// partition cuts the owner off from its database, without an end of any connection, until another one has settled; then everything that was held arrives.
func (w *world) partition(ctx context.Context, f *Fault, o *outboxRun, s *slot, epoch int64) error {
	release := f.Link.hold(s.link)
	defer release()
	f.InFlight = o.inFlight(ctx)
	if err := o.heal(ctx, f, epoch); err != nil {
		return err
	}
	f.Effect, f.Proof = true, fmt.Sprintf("epoch %d was cut off (%s) until a later one had settled", epoch, f.Link)
	return nil
}

// apart gives a slot a way to its database of its own, which a partition can hold.
func (s *slot) apart(database string) error {
	at, err := url.Parse(database)
	if err != nil {
		return err
	}
	if s.link, err = tcpproxy.New(at.Host); err != nil {
		return err
	}
	at.Host = s.link.Addr()
	s.url = at.String()
	return nil
}
