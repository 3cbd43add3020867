package dashboard

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// writePair makes a certificate of its own for 127.0.0.1, with a serial number to know it by.
func writePair(t *testing.T, dir string, serial int64) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(87600 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true,
		BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, pool = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), x509.NewCertPool()
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, pool
}

// S10, S15: a key that is open to others, or does not fit, is refused; what is renewed counts within a minute, and what cannot be read meanwhile ends nothing.
func TestCertificate_S10_S15(t *testing.T) {
	dir := t.TempDir()
	cert, key, _ := writePair(t, dir, 1)
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := NewCertificate(cert, key); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that is open: %v", err)
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewCertificate(key, key); err == nil || !strings.Contains(err.Error(), "dashboard.tls") {
		t.Errorf("a key instead of a certificate: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		c, err := NewCertificate(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		serial := func() int64 {
			pair, err := c.get(nil)
			if err != nil {
				t.Fatal(err)
			}
			return pair.Leaf.SerialNumber.Int64()
		}
		writePair(t, dir, 2)
		if got := serial(); got != 1 {
			t.Errorf("at once: %d", got)
		}
		time.Sleep(certificateFor)
		if got := serial(); got != 2 {
			t.Errorf("a minute later: %d", got)
		}
		if err := os.Remove(cert); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificateFor)
		if got := serial(); got != 2 {
			t.Errorf("without a file: %d", got)
		}
	})
}

// S7, S10: by https the cookie is for https and this host alone, answers say that it stays so, and nothing is answered in plain text.
func TestHTTPS_S7_S10(t *testing.T) {
	cert, key, pool := writePair(t, t.TempDir(), 1)
	c, err := NewCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	named := withNames(t)
	d := newDesk(t, func(o *Options) { named(o); o.Secure = true })
	s, err := Listen("127.0.0.1:0", c, d.Dashboard, d.Log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.PostForm("https://"+s.Addr().String()+"/login", url.Values{"token": {tokenOf("vera")}})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	cookies := res.Cookies()
	if res.StatusCode != http.StatusSeeOther || len(cookies) != 1 || cookies[0].Name != "__Host-waybill-orders" || !cookies[0].Secure || !cookies[0].HttpOnly || cookies[0].Path != "/" || cookies[0].Domain != "" {
		t.Errorf("%d %+v", res.StatusCode, cookies)
	}
	if res.Header.Get("Strict-Transport-Security") == "" || res.TLS == nil || res.TLS.Version < tls.VersionTLS12 {
		t.Errorf("%v", res.Header)
	}
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, DisableKeepAlives: true}}
	if res, err := old.Get("https://" + s.Addr().String() + "/login"); err == nil {
		_ = res.Body.Close()
		t.Error("TLS 1.1 is taken")
	}
	plain, err := client.Get("http://" + s.Addr().String() + "/login")
	if err != nil {
		return
	}
	defer plain.Body.Close()
	if b, _ := io.ReadAll(plain.Body); plain.StatusCode == http.StatusOK || strings.Contains(string(b), "orders") {
		t.Errorf("in plain text: %d %s", plain.StatusCode, b)
	}
}
