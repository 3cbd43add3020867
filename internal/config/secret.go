package config

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

const stars = "***"

// Secret is a value that must not be seen: it prints as *** through fmt, slog, JSON and YAML. The zero Secret is not set.
type Secret struct{ source *secretSource } // a pointer, so that printing a struct with an unexported Secret shows an address and no text

type secretSource struct{ env, file, text string }

// SecretText is a secret given as it is.
func SecretText(s string) Secret { return Secret{&secretSource{text: s}} }

// SecretEnv is a secret that lies in an environment variable.
func SecretEnv(name string) Secret { return Secret{&secretSource{env: name}} }

// SecretFile is a secret that lies in a file; a trailing newline is cut.
func SecretFile(path string) Secret { return Secret{&secretSource{file: path}} }

// IsSet says whether the secret was given at all.
func (s Secret) IsSet() bool { return s.source != nil }

// Origin says where the secret comes from, for people; it never contains the secret.
func (s Secret) Origin() string {
	switch {
	case s.source == nil:
		return "not set"
	case s.source.env != "":
		return "environment variable " + s.source.env
	case s.source.file != "":
		return "file " + s.source.file
	}
	return "plain text"
}

// maxSecretBytes bounds a secret's file: a wrong path must not be read whole.
const maxSecretBytes = 64 << 10

// Reveal reads the secret now; a file is read again at each call. An unset secret is empty. Errors name the place and never the text.
func (s Secret) Reveal() (string, error) {
	switch {
	case s.source == nil:
		return "", nil
	case s.source.env != "":
		text, ok := os.LookupEnv(s.source.env)
		if !ok || text == "" {
			return "", fmt.Errorf("environment variable %s is not set", s.source.env)
		}
		return text, nil
	case s.source.file != "":
		return readSecret(s.source.file)
	}
	return s.source.text, nil
}

func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretBytes+1))
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	if len(b) > maxSecretBytes {
		return "", fmt.Errorf("secret: %s is larger than %d KiB", path, maxSecretBytes>>10)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if text == "" {
		return "", fmt.Errorf("secret: %s is empty", path)
	}
	return text, nil
}

func (s Secret) String() string {
	if s.source == nil {
		return ""
	}
	return stars
}

// Format covers every verb of fmt, so that %#v and %x show no more than %s.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON and other encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML hides the secret from YAML.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }
