package rabbitmq

import (
	"strings"
	"testing"
	"time"
)

func TestValidateNamesEveryProblem(t *testing.T) {
	good := DefaultConfig()
	good.Hosts = []string{"127.0.0.1:5672"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"hosts is empty":     func(c *Config) { c.Hosts = nil },
		"is not host:port":   func(c *Config) { c.Hosts = []string{"localhost"} },
		"vhost must have":    func(c *Config) { c.Vhost = "" },
		"connection_name":    func(c *Config) { c.ConnectionName = strings.Repeat("x", 256) },
		"exchange or queue":  func(c *Config) { c.Queues = []string{""} },
		"channels is 0":      func(c *Config) { c.Channels = 0 },
		"window is 0":        func(c *Config) { c.Window = 0 },
		"max_message_bytes":  func(c *Config) { c.MaxMessageBytes = 1 << 30 },
		"batch.max_messages": func(c *Config) { c.Batch.MaxMessages = 0 },
		"batch.max_bytes":    func(c *Config) { c.Batch.MaxBytes = 1 },
		"timeouts.connect":   func(c *Config) { c.Timeouts.Connect = 0 },
		"timeouts.confirm":   func(c *Config) { c.Timeouts.Confirm = 2 * time.Hour },
		"heartbeat":          func(c *Config) { c.Heartbeat = time.Millisecond },
		"write_timeout":      func(c *Config) { c.WriteTimeout = 0 },
		"tcp_user_timeout":   func(c *Config) { c.TCPUserTimeout = 0 },
		"management_url":     func(c *Config) { c.ManagementURL = "http://user:secret@host" },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := (Config{}).Validate(); err == nil || strings.Count(err.Error(), "\n") < 10 {
		t.Errorf("the zero value: %v", err)
	}
}
