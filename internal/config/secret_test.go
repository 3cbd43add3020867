package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestSecretsAreNeverSeen(t *testing.T) {
	const canary = "pw-canary"
	text := strings.Replace(smallest, "{ env: WAYBILL_DATABASE_URL }", "postgres://u:"+canary+"@h/db", 1)
	l, err := Parse("config.yaml", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	js, err := json.Marshal(l.Config)
	if err != nil {
		t.Fatal(err)
	}
	ym, err := yaml.Marshal(l.Database.URL)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "url", l.Database.URL, "config", l.Config)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "url", l.Database.URL, "config", l.Config)
	hidden := struct{ s Secret }{l.Database.URL}
	for name, out := range map[string]string{
		"%v": fmt.Sprintf("%v", l.Config), "%+v": fmt.Sprintf("%+v", l.Config), "%#v": fmt.Sprintf("%#v", l.Database), "%x": fmt.Sprintf("%x", l.Database.URL),
		"unexported": fmt.Sprintf("%+v %#v", hidden, hidden), "json": string(js), "yaml": string(ym), "slog": log.String(),
		"print": string(l.YAML(true)), "values": fmt.Sprint(l.Values()), "origins": fmt.Sprint(l.Origins()),
	} {
		if strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary)) {
			t.Errorf("%s shows the secret: %s", name, out)
		}
		if name != "unexported" && name != "origins" && !strings.Contains(out, stars) {
			t.Errorf("%s shows no stars: %s", name, out)
		}
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(path, []byte("postgres://x\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := SecretFile(path).Reveal(); got != "postgres://x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	l, err := Parse("config.yaml", []byte(strings.Replace(smallest, "env: WAYBILL_DATABASE_URL", "file: /nonexistent/x", 1)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if ps := l.CheckSecrets(); len(ps) != 1 || ps[0].Path != "database.url" || ps[0].Line != 3 {
		t.Errorf("got %v", ps)
	}
}

// What config print writes is a configuration again, and the same one.
func TestPrivateFiles(t *testing.T) {
	text := strings.Replace(smallest, "{ env: WAYBILL_DATABASE_URL }", "{ file: /run/url }, direct_url: postgres://plain", 1)
	text = strings.Replace(text, `["localhost:9092"]`, `["localhost:9092"], tls: { enabled: true, cert: /c.pem, key: /k.pem }`, 1) +
		"dashboard: { tls: { cert: /run/cert, key: /run/key }, auth: { basic: { file: /run/users }, tokens: { bot: { file: /run/bot } } } }\n"
	got, err := Parse("config.yaml", []byte(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []PrivateFile{{"database.url", "/run/url"}, {"dashboard.auth.tokens.bot", "/run/bot"}, {"destinations.kafka-a.tls.key", "/k.pem"}, {"dashboard.auth.basic.file", "/run/users"},
		{"dashboard.tls.key", "/run/key"}, {"database.direct_url", "config.yaml"}}
	if files := got.PrivateFiles(); !reflect.DeepEqual(files, want) {
		t.Errorf("%v, want %v", files, want)
	}
	if got, err = Parse("config.yaml", []byte(smallest), Options{Environ: []string{"WAYBILL_DATABASE__DIRECT_URL=postgres://plain"}}); err != nil || len(got.PrivateFiles()) > 0 {
		t.Errorf("secrets of the environment lie in %v, %v", got.PrivateFiles(), err)
	}
}
