package testservices

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"
)

// TLSOnly makes name servers and brokers refuse connections without TLS (tls.server.mode=enforcing). Rocket.TLS trusts them.
func TLSOnly() RocketOption { return func(r *Rocket) { r.tlsOnly = true } }

// TLS trusts the certificate of a RocketMQ with TLSOnly; nil without it.
func (r *Rocket) TLS() *tls.Config {
	if r.certs == nil {
		return nil
	}
	return &tls.Config{RootCAs: r.certs.Roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

// writeTLS makes the certificates and the file that every part reads its settings of TLS from.
func (r *Rocket) writeTLS() (err error) {
	if r.certs, err = NewCertificates(); err != nil {
		return err
	}
	key, err := r.certs.server.keyPEM()
	keyFile, certFile := filepath.Join(r.dir, "key.pem"), filepath.Join(r.dir, "cert.pem")
	settings := "tls.test.mode.enable=false\ntls.server.need.client.auth=none\ntls.server.keyPath=" + keyFile + "\ntls.server.certPath=" + certFile +
		"\ntls.client.authServer=false\n"
	return errors.Join(err, os.WriteFile(keyFile, key, 0o600), os.WriteFile(certFile, r.certs.server.certificatePEM(), 0o644),
		os.WriteFile(r.tlsFile(), []byte(settings), 0o644))
}

func (r *Rocket) tlsFile() string { return filepath.Join(r.dir, "tls.properties") }

// dial connects as the parts want it.
func (r *Rocket) dial(addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	if r.certs != nil {
		return tls.DialWithDialer(&d, "tcp", addr, r.TLS())
	}
	return d.Dial("tcp", addr)
}
