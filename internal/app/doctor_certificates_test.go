package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/relay"
)

// pemOf writes certificates that end so long from now, one behind the other.
func pemOf(t *testing.T, path string, now time.Time, ends ...time.Duration) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for i, end := range ends {
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: end.String()}, NotBefore: now.Add(min(end, 0) - time.Hour), NotAfter: now.Add(end)}
		if end > 1000*time.Hour {
			template.NotBefore = now.Add(-time.Hour)
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Files of certificates are told of a month before they end, and so is one that the certificate rests on; what cannot be read is never well.
func TestDoctorReadsCertificates(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now().Truncate(time.Second)
	path := filepath.Join(t.TempDir(), "cert.pem")
	for name, want := range map[string]struct {
		ends  []time.Duration
		level relay.Level
		text  string
	}{
		"long":          {[]time.Duration{30 * day}, relay.LevelOK, ""},
		"a month":       {[]time.Duration{30*day - time.Second}, relay.LevelWarn, "ends in 29 days"},
		"a week":        {[]time.Duration{7 * day}, relay.LevelWarn, "ends in 7 days"},
		"days":          {[]time.Duration{7*day - time.Second}, relay.LevelFail, "ends in 6 days"},
		"hours":         {[]time.Duration{3 * time.Hour}, relay.LevelFail, "ends in 3 hours"},
		"over":          {[]time.Duration{0}, relay.LevelFail, "ended at " + now.UTC().Format(time.RFC3339)},
		"what it is of": {[]time.Duration{300 * day, 2 * day}, relay.LevelFail, "CN=48h0m0s of " + path + " ends in 2 days"},
		"empty":         {nil, relay.LevelUnseen, "has no certificate"},
	} {
		pemOf(t, path, now, want.ends...)
		for key, c := range map[string]*config.Config{"dashboard.tls.cert": dashboardWith(path), "destinations.k.tls.cert": kafkaWith(path), "destinations.r.tls.cert": rabbitWith(path)} {
			found := doctor.JudgeConfig(doctor.ConfigFacts{Certificates: certificates(c, now)})
			f := found[len(found)-1]
			if f.ID != "config.certificate" || f.Level != want.level || !strings.Contains(f.Text, want.text) || f.Level != relay.LevelOK && f.Subject != key || (f.Level == relay.LevelOK) != (f.Fix == "") {
				t.Errorf("%s, %s: %+v", name, key, f)
			}
		}
	}
	pemOf(t, path, now.Add(3*time.Hour), 900*time.Hour)
	found := doctor.JudgeConfig(doctor.ConfigFacts{Certificates: certificates(kafkaWith(path), now)})
	if f := found[len(found)-1]; f.Level != relay.LevelFail || !strings.Contains(f.Text, "counts only in 2 hours") {
		t.Errorf("not valid yet: %+v", f)
	}
	found = doctor.JudgeConfig(doctor.ConfigFacts{Certificates: certificates(kafkaWith(path+".gone"), now)})
	if f := found[len(found)-1]; f.Level != relay.LevelUnseen {
		t.Errorf("no file: %+v", f)
	}
	c := kafkaWith(path)
	c.Destinations[0].Kafka.TLS.Enabled = false
	if all := certificates(c, now); len(all) > 0 {
		t.Errorf("a certificate that nobody is shown: %+v", all)
	}
}

func dashboardWith(cert string) *config.Config {
	c := config.Default()
	c.Dashboard.TLS.Cert = cert
	return c
}

func kafkaWith(cert string) *config.Config {
	c, d := config.Default(), config.NewDestination("k", config.KindKafka)
	d.Kafka.TLS = config.TLS{Enabled: true, Cert: cert}
	c.Destinations = []config.Destination{d}
	return c
}

func rabbitWith(cert string) *config.Config {
	c, d := config.Default(), config.NewDestination("r", config.KindRabbitMQ)
	d.RabbitMQ.TLS = config.TLS{Enabled: true, Cert: cert}
	c.Destinations = []config.Destination{d}
	return c
}
