package testservices

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Certificates are throw-away: an authority and what it has signed, for servers on localhost and 127.0.0.1 and for their clients. They are made in this
// process and trusted by nobody else.
type Certificates struct {
	Roots      *x509.CertPool // trusts the servers
	OtherRoots *x509.CertPool // an authority that has signed none of them

	Client        tls.Certificate // signed by the authority that the servers trust, valid for a year
	ClientExpired tls.Certificate // the same authority, since yesterday not valid any more
	ClientForeign tls.Certificate // signed by the other authority

	authority pair // what servers trust
	server    pair // valid for a year
	soon      pair // valid for SoonExpires
	expired   pair // not valid since yesterday
}

// SoonExpires is how long the certificate of a server is valid that is about to expire.
const SoonExpires = 20 * 24 * time.Hour

const certificateYear = 365 * 24 * time.Hour

// NewCertificates makes a set of them; a few milliseconds.
func NewCertificates() (*Certificates, error) {
	now := time.Now()
	var c Certificates
	var other, client, clientExpired, clientForeign pair
	for _, make := range []struct {
		into   *pair
		signer *pair // nil = itself: an authority
		name   string
		until  time.Time
	}{
		{&c.authority, nil, "authority of these tests", now.Add(certificateYear)},
		{&other, nil, "another test authority", now.Add(certificateYear)},
		{&c.server, &c.authority, "localhost", now.Add(certificateYear)},
		{&c.soon, &c.authority, "localhost", now.Add(SoonExpires)},
		{&c.expired, &c.authority, "localhost", now.Add(-24 * time.Hour)},
		{&client, &c.authority, "relay", now.Add(certificateYear)},
		{&clientExpired, &c.authority, "relay", now.Add(-24 * time.Hour)},
		{&clientForeign, &other, "relay", now.Add(certificateYear)},
	} {
		made, err := newPair(make.name, make.signer, make.until)
		if err != nil {
			return nil, fmt.Errorf("make a certificate for %s: %w", make.name, err)
		}
		*make.into = made
	}
	c.Roots, c.OtherRoots = c.authority.pool(), other.pool()
	c.Client, c.ClientExpired, c.ClientForeign = client.forTLS(), clientExpired.forTLS(), clientForeign.forTLS()
	return &c, nil
}

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPair(name string, signer *pair, until time.Time) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-2 * certificateYear), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
	}
	parent := pair{template, key}
	if signer == nil {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage, template.DNSNames, template.IPAddresses = true, x509.KeyUsageCertSign, nil, nil, nil
	} else {
		parent = *signer
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent.cert, &key.PublicKey, parent.key)
	if err != nil {
		return pair{}, err
	}
	cert, err := x509.ParseCertificate(raw)
	return pair{cert, key}, err
}

func (p pair) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	return pool
}

func (p pair) forTLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
}

// certificatePEM is the certificate alone, keyPEM the key alone (PKCS 8).
func (p pair) certificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

func (p pair) keyPEM() ([]byte, error) {
	raw, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}
