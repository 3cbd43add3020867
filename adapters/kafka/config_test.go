package kafka

import (
	"crypto/tls"
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	c := DefaultConfig()
	c.Brokers = []string{"127.0.0.1:9092", "[::1]:9092", "kafka.example:9092"}
	c.Topics = []string{"order.paid", "a_b-c.D9"}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestValidateTellsAllProblemsAtOnce(t *testing.T) {
	c := Config{Brokers: []string{"nohost", ":9092"}, Topics: []string{"", "..", "a b", strings.Repeat("x", 250)}, Partitioner: "md5"}
	_, err := New(c)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`"nohost"`, `":9092"`, "client_id", "is empty", `".."`, `"a b"`, "250 bytes", "md5", "max_messages", "max_bytes",
		"timeouts.connect", "timeouts.broker", "timeouts.publish", "write_timeout", "tcp_user_timeout", "longer than"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in:\n%v", want, err)
		}
	}
	for want, change := range map[string]func(*Config){
		`compression "brotli"`:            func(c *Config) { c.Compression = "brotli" },
		`sasl.mechanism "oauth"`:          func(c *Config) { c.SASL.Mechanism = "oauth" },
		"password as it is":               func(c *Config) { c.SASL.Mechanism, c.Login = MechanismPlain, new(credentials).login },
		"there are credentials and no":    func(c *Config) { c.Login = new(credentials).login },
		"needs a user and a password":     func(c *Config) { c.SASL.Mechanism = MechanismSHA512 },
		"plain needs a user and a passwo": func(c *Config) { c.SASL.Mechanism, c.TLS = MechanismPlain, &tls.Config{} },
	} {
		c := DefaultConfig()
		c.Brokers = []string{"127.0.0.1:9092"}
		if change(&c); c.Validate() == nil || !strings.Contains(c.Validate().Error(), want) {
			t.Errorf("nothing about %s: %v", want, c.Validate())
		}
	}
	if err := (Config{}).Validate(); !strings.Contains(err.Error(), "brokers is empty") {
		t.Error(err)
	}
}
