package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// selfSigned writes a certificate for 127.0.0.1 and its key, both PEM.
func selfSigned(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A renewed certificate is shown at the next connection, without a new start.
func TestTLSReadsItsCertificateAgain(t *testing.T) {
	server := t.TempDir()
	ca, caKey := selfSigned(t, server, 1)
	pair, err := tls.LoadX509KeyPair(ca, caKey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	cert, key := selfSigned(t, dir, 100)
	cfg, err := tlsConfig(config.TLS{Enabled: true, CA: ca, Cert: cert, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan int64, 1)
	for _, serial := range []int64{100, 101} {
		selfSigned(t, dir, serial)
		go func() {
			c, err := l.Accept()
			if err != nil {
				shown <- -1
				return
			}
			defer c.Close()
			if err := c.(*tls.Conn).Handshake(); err != nil {
				shown <- -1
				return
			}
			shown <- c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		}()
		c, err := tls.Dial("tcp", l.Addr().String(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := <-shown; got != serial {
			t.Errorf("the server saw certificate %d, want %d", got, serial)
		}
		_ = c.Close()
	}
	if cfg, err := tlsConfig(config.TLS{}); cfg != nil || err != nil {
		t.Errorf("off: %v, %v", cfg, err)
	}
}

func TestTLSFilesThatAreWrong(t *testing.T) {
	dir := t.TempDir()
	cert, key := selfSigned(t, dir, 1)
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tls  config.TLS
		want string
	}{
		"no file":   {config.TLS{Enabled: true, CA: filepath.Join(dir, "none.pem")}, "tls.ca cannot be read"},
		"no PEM":    {config.TLS{Enabled: true, CA: empty}, "holds no certificate in PEM form"},
		"exchanged": {config.TLS{Enabled: true, Cert: key, Key: cert}, "tls.cert and tls.key"},
	} {
		_, err := tlsConfig(c.tls)
		var wrong *relay.ConfigError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a ConfigError with %q", name, err, c.want)
		}
	}
}

func TestLoginIsReadEachTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	give := login(config.SecretText("u"), config.SecretFile(path))
	if _, _, err := give(); err == nil {
		t.Error("a missing file gives no error")
	}
	for _, want := range []string{"first", "second"} {
		if err := os.WriteFile(path, []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if user, password, err := give(); user != "u" || password != want || err != nil {
			t.Errorf("%q %q %v, want %q", user, password, err, want)
		}
	}
	if login(config.Secret{}, config.Secret{}) != nil {
		t.Error("no login gives a login")
	}
}
