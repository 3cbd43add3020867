package app

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// tlsConfig makes the TLS settings of a destination; nil when it has none. An own certificate is read again at each connection, so that a renewed one needs
// no new start; the authorities are read once.
func tlsConfig(t config.TLS) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: fmt.Sprintf("tls.ca cannot be read: %v", err)}
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: fmt.Sprintf("tls.ca: %s holds no certificate in PEM form", t.CA)}
		}
	}
	if t.Cert != "" {
		own := func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(t.Cert, t.Key)
			if err != nil {
				return nil, fmt.Errorf("tls.cert and tls.key: %w", err)
			}
			return &c, nil
		}
		if _, err := own(); err != nil {
			return nil, &relay.ConfigError{Class: relay.ClassInvalid, Text: err.Error()}
		}
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }
	}
	return out, nil
}

// login gives user and password as they are now, each time it is called; nil when neither is configured.
func login(user, password config.Secret) func() (string, string, error) {
	if !user.IsSet() {
		return nil
	}
	return func() (u, p string, err error) {
		if u, err = user.Reveal(); err == nil {
			p, err = password.Reveal()
		}
		return u, p, err
	}
}
