package rocketmq

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// TestAccounts: a right that is taken away pauses the topic, a password that was changed the destination; both heal by themselves.
func TestAccounts(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.WithACL())
	topic, other := topicName(t), topicName(t)
	admin := readConfig(r.NameServers)
	admin.Login = func() (string, string, error) { return testservices.Admin.AccessKey, testservices.Admin.SecretKey, nil }
	must(t, CreateTopics(t.Context(), admin, []string{topic, other}, 1))
	user := testservices.Account{AccessKey: "publisher", SecretKey: "first-secret", Topics: map[string]string{topic: "PUB", other: "PUB"}}
	must(t, r.SetAccounts(user))
	var secret atomic.Value
	secret.Store("first-secret")
	p := newPublisher(t, r.NameServers, func(c *Config) {
		c.Topics = []string{topic, other}
		c.Login = func() (string, string, error) {
			if s := secret.Load().(string); s != "" {
				return "publisher", s, nil
			}
			return "", "", errors.New("the file is gone")
		}
	})
	opened(t, p)
	untilAcked(t, p, ids(topic, "k", 1)) // the broker reads its list every 500 ms
	untilAcked(t, p, ids(other, "k", 1))

	user.Topics = map[string]string{topic: "DENY", other: "PUB"}
	must(t, r.SetAccounts(user))
	next := 2
	refused := func(class string, scope relay.Scope) (o relay.Outcome) {
		t.Helper()
		eventually(t, class, func() bool {
			o = publish(t, p, ids(topic, "k", next))[0]
			if o.Kind == relay.Acked {
				next++
				return false
			}
			if o.Kind != relay.Config || o.Scope != scope || o.Class != class {
				t.Fatalf("%+v", o)
			}
			return true
		})
		return o
	}
	refused(relay.ClassDenied, relay.ScopeTopic)
	want(t, publish(t, p, ids(other, "k", 2)), "acked 1")
	batch := ids(topic, "k", 1001, 1002)
	// 4.9.7 checks the right to the topic for single messages only: a batch passes with a signature. Either is right, blaming a message is not.
	if out := publish(t, p, batch); out[0].Kind != relay.Acked && out[0].Class != relay.ClassDenied {
		t.Errorf("a batch without the right: %+v", out[0])
	}
	user.Topics[topic] = "PUB"
	must(t, r.SetAccounts(user))
	untilAcked(t, p, ids(topic, "k", next))

	user.SecretKey = "second-secret"
	must(t, r.SetAccounts(user))
	next++
	if o := refused(relay.ClassAuth, relay.ScopeDestination); strings.Contains(o.Detail, "publisher") || strings.Contains(o.Detail, "secret") {
		t.Errorf("credentials in an error text: %s", o.Detail)
	}
	secret.Store("second-secret")
	untilAcked(t, p, ids(topic, "k", next))
	if n := p.Counters().Renewed; n != 1 {
		t.Errorf("the client was made anew %d times for one password", n)
	}

	secret.Store("")
	var config *relay.ConfigError
	if _, err := p.Check(within(t, patience)); !errors.As(err, &config) || config.Class != relay.ClassAuth {
		t.Errorf("check without credentials: %v", err)
	}
}
