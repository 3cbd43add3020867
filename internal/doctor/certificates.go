package doctor

import (
	"time"

	"github.com/waybillmq/waybill/relay"
)

// A certificate is worth a word before it ends, early enough for whoever signs it to answer.
const (
	certificateWarn = 30 * 24 * time.Hour
	certificateFail = 7 * 24 * time.Hour
)

// Certificate is one that this program shows to others: to browsers, or to a broker or database that asks for it.
type Certificate struct {
	Key, Path string        // of the configuration, and the file
	Subject   string        // of the one that ends first, it or one that it rests on
	Until     time.Time     // when that one ends
	Left      time.Duration // until then
	Early     time.Duration // until it counts; 0 or below = it does
	Err       error         // it cannot be read
}

// certificates judges when each ends.
func (r *report) certificates(all []Certificate) {
	const id = "config.certificate"
	r.each(id, "configuration", "each counts for 30 days more, or there is none", func() {
		for _, c := range all {
			r.certificate(id, c)
		}
	})
}

func (r *report) certificate(id string, c Certificate) {
	fix := "renew it, and put it into " + c.Path + " with its key beside it: it is read again without a new start"
	until := c.Until.UTC().Format(time.RFC3339)
	switch {
	case c.Err != nil:
		r.unseen(id, c.Key, c.Err, "waybill config explain "+c.Key)
	case c.Early > 0:
		r.add(id, relay.LevelFail, c.Key, "look at the clock of this machine; else take a certificate that counts already", "%s of %s counts only in %s", c.Subject, c.Path, long(c.Early))
	case c.Left <= 0:
		r.add(id, relay.LevelFail, c.Key, fix, "%s of %s ended at %s", c.Subject, c.Path, until)
	case c.Left < certificateFail:
		r.add(id, relay.LevelFail, c.Key, fix, "%s of %s ends in %s, at %s", c.Subject, c.Path, long(c.Left), until)
	case c.Left < certificateWarn:
		r.add(id, relay.LevelWarn, c.Key, fix, "%s of %s ends in %s, at %s", c.Subject, c.Path, long(c.Left), until)
	}
}

// shown judges the certificate that the relay shows to the database, of which the link tells only when it ends.
func (r *report) shown(ends time.Time, left time.Duration) {
	const id = "database.certificate"
	level := relay.LevelWarn
	switch {
	case ends.IsZero():
		r.ok(id, "database.url", "the server is shown no certificate")
		return
	case left >= certificateWarn:
		r.ok(id, "database.url", "it counts until %s", ends.UTC().Format(time.RFC3339))
		return
	case left < certificateFail:
		level = relay.LevelFail
	}
	r.add(id, level, "database.url", "renew the file that sslcert of database.url names, with its key; each new connection reads it: then start the relays anew, one after the other",
		"the certificate that the server is shown ends in %s, at %s", long(left), ends.UTC().Format(time.RFC3339))
}
