package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/waybillmq/waybill/relay"
)

// certificateWarning is how long before its end a certificate is spoken of.
const certificateWarning = 30 * 24 * time.Hour

// refused tells of a broker that does not let us in.
func (r *report) refused(why *refusal) {
	rule := rules[why.sig]
	text := rule.name
	if why.words != "" {
		text += ": " + why.words
	}
	r.add("kafka.admission", relay.LevelFail, why.addr, text, rule.text)
}

// admissions enters every broker of the cluster once, as a batch would, and looks at the certificates. Without TLS and login there is nothing to see.
func (r *report) admissions(ctx context.Context, res *metadata.Response) {
	cfg := r.p.cfg
	if cfg.TLS == nil && cfg.SASL.Mechanism == MechanismNone {
		return
	}
	for _, b := range res.Brokers {
		addr := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		c, err := r.p.dialer.plain(ctx, "tcp", addr)
		if err == nil {
			_ = c.Close()
			r.add("kafka.admission", relay.LevelOK, addr, r.entered(), "")
		} else if why := r.p.dialer.refusal(err); why != nil {
			r.refused(why)
		} else {
			r.add("kafka.admission", relay.LevelUnseen, addr, "the broker cannot be reached: "+reason(err), "bring it back")
		}
		if end, shown := r.p.dialer.certificate(addr); shown {
			r.certificate("kafka.certificate", addr, end)
		}
	}
	if cfg.TLS == nil {
		return
	}
	if cfg.TLS.InsecureSkipVerify {
		r.add("kafka.certificate", relay.LevelWarn, "tls", "the certificates of the brokers are not verified: anybody may pass for them", "name the authority that signs them")
	}
	for _, c := range cfg.TLS.Certificates {
		if end, ok := ends(c); ok {
			r.certificate("kafka.client_certificate", "tls", end)
		}
	}
}

// entered says by what means.
func (r *report) entered() string {
	switch m := r.p.cfg.SASL.Mechanism; {
	case m == MechanismNone:
		return "it lets us in over TLS"
	case r.p.cfg.TLS == nil:
		return fmt.Sprintf("it lets us in by %s, without TLS", m)
	default:
		return fmt.Sprintf("it lets us in by %s over TLS", m)
	}
}

func (r *report) certificate(id, subject string, end time.Time) {
	left := time.Until(end)
	r.judge(id, left < certificateWarning, relay.LevelWarn, subject, fmt.Sprintf("the certificate ends on %s, in %d days", end.UTC().Format(time.DateOnly), int(left.Hours()/24)),
		"renew it before: afterwards nothing is delivered")
}

// ends is when the first certificate of a chain ends.
func ends(c tls.Certificate) (end time.Time, ok bool) {
	for _, raw := range c.Certificate {
		x, err := x509.ParseCertificate(raw)
		if err != nil {
			return end, false
		}
		if !ok || x.NotAfter.Before(end) {
			end, ok = x.NotAfter, true
		}
	}
	return end, ok
}
