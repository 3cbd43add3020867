package checker

import (
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

// cut returns what cuts a relay off from its database, without an end of any connection, and what lets everything that was held arrive.
func (s *slot) cut(l Link) (hold, release func() error) {
	each := func(do func(tcpproxy.Direction)) func() error {
		return func() error {
			if l != NoAnswers {
				do(tcpproxy.Request)
			}
			if l != NoRequests {
				do(tcpproxy.Answer)
			}
			return nil
		}
	}
	return each(s.link.Hold), each(s.link.Release)
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
