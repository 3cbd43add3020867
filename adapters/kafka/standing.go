package kafka

import (
	"crypto/x509"
	"errors"
	"time"
)

// provenFor is how long a broker that answered a question is believed to speak as we do: a connection that ends within it is an outage.
const provenFor = time.Minute

// standing is what a dialer knows of the brokers that it has met; the dialer's mu guards it.
type standing struct {
	refused *refusal             // the last dial that failed for a reason that only a person ends, until one succeeds
	proved  map[string]time.Time // when a broker last answered a question, by address
	expires map[string]time.Time // when the first certificate of a broker's chain ends, by address
}

func newStanding() standing {
	return standing{proved: map[string]time.Time{}, expires: map[string]time.Time{}}
}

// dialed notes how a dial ended.
func (d *dialer) dialed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var r *refusal
	switch {
	case err == nil:
		d.refused = nil
	case errors.As(err, &r):
		d.refused = r
	}
}

// refusal finds the refusal behind an error of the library; nil = there is none. A pool of the library that could never connect knows no broker, and no
// reason either: then it is that of the last dial.
func (d *dialer) refusal(err error) *refusal {
	var r *refusal
	if errors.As(err, &r) || !errors.Is(err, errNoBroker) {
		return r
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}

// answeredQuestion notes that a broker answered a question.
func (d *dialer) answeredQuestion(addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.proved[addr] = time.Now()
}

func (d *dialer) proven(addr string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.proved[addr]) < provenFor
}

// seen notes the certificates that a broker has shown.
func (d *dialer) seen(addr string, chain []*x509.Certificate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.expires, addr)
	for i, cert := range chain {
		if i == 0 || cert.NotAfter.Before(d.expires[addr]) {
			d.expires[addr] = cert.NotAfter
		}
	}
}

// certificate is when the first certificate of a broker's chain ends; false = it has not shown one.
func (d *dialer) certificate(addr string) (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.expires[addr]
	return t, ok
}
