package app

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"time"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/doctor"
)

// certificates are those that the configuration names as files: the dashboard's own, and those that brokers ask for.
func certificates(c *config.Config, now time.Time) (all []doctor.Certificate) {
	if c.Dashboard.TLS.Cert != "" {
		all = append(all, certificateFacts("dashboard.tls.cert", c.Dashboard.TLS.Cert, now))
	}
	for i := range c.Destinations {
		d := &c.Destinations[i]
		if t := d.Encryption(); t.Enabled && t.Cert != "" {
			all = append(all, certificateFacts("destinations."+d.Name+".tls.cert", t.Cert, now))
		}
	}
	return all
}

// certificateFacts reads every certificate of a PEM file: whoever is shown it checks them all, so the first one that ends ends it.
func certificateFacts(key, path string, now time.Time) doctor.Certificate {
	f := doctor.Certificate{Key: key, Path: path}
	text, err := os.ReadFile(path)
	if err != nil {
		f.Err = err
		return f
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			f.Err = fmt.Errorf("%s: %w", path, err)
			return f
		}
		if f.Until.IsZero() || c.NotAfter.Before(f.Until) {
			f.Subject, f.Until = c.Subject.String(), c.NotAfter
		}
		f.Early = max(f.Early, c.NotBefore.Sub(now))
	}
	if f.Until.IsZero() {
		f.Err = fmt.Errorf("%s has no certificate", path)
	}
	f.Left = f.Until.Sub(now)
	return f
}
