package postgres

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
)

// The certificate that database.url names is looked at where the server is spoken to by TLS, and only there.
func TestExamineCertificate(t *testing.T) {
	s := testservices.PostgresServer(t, 15) // the one with TLS
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ends := time.Now().Add(100 * time.Hour).Truncate(time.Second)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: ends.Add(-200 * time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	like, err := os.Stat(s.DataFile("PG_VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	cert, key := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	dir := t.TempDir()
	for path, text := range map[string][]byte{s.DataFile("server.crt"): cert, s.DataFile("server.key"): key, filepath.Join(dir, "c.pem"): cert, filepath.Join(dir, "k.pem"): key} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if owner, ok := like.Sys().(*syscall.Stat_t); ok && filepath.Dir(path) != dir {
			if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{`ALTER SYSTEM SET ssl = on`, `SELECT pg_reload_conf()`} {
		if _, err := conn.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	shown := "&sslcert=" + filepath.Join(dir, "c.pem") + "&sslkey=" + filepath.Join(dir, "k.pem")
	for url, want := range map[string]time.Time{"?sslmode=require" + shown: ends, "?sslmode=require": {}, "?sslmode=disable" + shown: {}} {
		x, err := Examine(t.Context(), Config{URL: strings.TrimSuffix(s.URL("postgres"), "?sslmode=disable") + url})
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		if f := x.Server; !f.CertificateEnds.Equal(want) || !want.IsZero() && (f.CertificateLeft > 100*time.Hour || f.CertificateLeft < 99*time.Hour) {
			t.Errorf("%s: %+v", url, f)
		}
	}
}
