package rocketmq

import (
	"crypto/tls"
	"strings"
	"testing"
)

func TestEveryProblemOfAConfigurationIsReported(t *testing.T) {
	c := DefaultConfig()
	c.NameServers = []string{"nohost", ":9876"}
	c.Group, c.Topics, c.Partitioner, c.Tombstone = "a.b", []string{"order.paid"}, "random", "keep"
	c.Batch = Batch{}
	c.TLS = &tls.Config{}
	c.Connect, c.WriteTimeout, c.TCPUserTimeout = 0, -1, 0
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{`"nohost"`, `":9876"`, `group "a.b"`, `topic "order.paid"`, `partitioner "random"`, `tombstone "keep"`, "max_messages", "max_bytes",
		"tls is not possible", "connect is", "write_timeout", "tcp_user_timeout"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("nothing about %s in: %v", part, err)
		}
	}
	if _, err := New(DefaultConfig()); err == nil || !strings.Contains(err.Error(), "name_servers is empty") {
		t.Errorf("no name server: %v", err)
	}
}
