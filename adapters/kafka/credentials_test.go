package kafka

import (
	"errors"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

// passwordChanged: a running session goes on, the next dial is config for the destination, and the renewed password heals without a restart.
// The same when the user is removed and comes back.
func passwordChanged(t *testing.T, c *testservices.Cluster) {
	s := c.Secure()
	set := func(password string) {
		t.Helper()
		if err := c.SetUser("renewed", password); err != nil {
			t.Fatal(err)
		}
	}
	set("first")
	known := &credentials{user: "renewed", password: "first"}
	g := newTarget(t, s.SASL, func(topic string, n int) error { return c.CreateTopic(topic, n, nil) })
	g.change = over(s.Roots, MechanismSHA256, known)
	topic := g.Topic(1)
	p := g.via(nil)
	defer p.Close(within(t, patience))
	opened(t, p)
	want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")

	refused := func(batch []*relay.Message, code, class string) {
		t.Helper()
		g.proxy.Drop()
		eventually(t, "config", func() bool {
			o := publish(t, p, batch)[0]
			if o.Kind == relay.Acked {
				t.Fatal("let in")
			}
			if o.Kind == relay.Config && (o.Scope != relay.ScopeDestination || o.Code != code || o.Class != class) {
				t.Fatalf("%+v", o)
			}
			return o.Kind == relay.Config
		})
	}
	set("second")
	want(t, publish(t, p, ids(topic, "k", 2)), "acked 1") // its session goes on
	refused(ids(topic, "k", 3), "kafka/SASL_AUTHENTICATION_FAILED", relay.ClassAuth)
	known.set("renewed", "second", nil)
	untilAcked(t, p, ids(topic, "k", 3))

	if err := c.DropUser("renewed", "second"); err != nil {
		t.Fatal(err)
	}
	want(t, publish(t, p, ids(topic, "k", 4)), "acked 1")
	refused(ids(topic, "k", 5), "kafka/SASL_AUTHENTICATION_FAILED", relay.ClassAuth)
	set("third")
	known.set("", "", errors.New("the file with the password is gone"))
	refused(ids(topic, "k", 5), "kafka/credentials", relay.ClassAuth)
	known.set("renewed", "third", nil)
	untilAcked(t, p, ids(topic, "k", 5))
	g.wantStored(topic, 1, 2, 3, 4, 5)
	if n := p.Counters().SessionsLapsed; n != 0 {
		t.Errorf("%d sessions lapsed", n)
	}
}

// sessionsEnd: the broker ends every login after two seconds; what was out is unknown, and a new login goes on without loss or repeats.
func sessionsEnd(t *testing.T, c *testservices.Cluster) {
	if err := c.SetUser("brief", "secret"); err != nil {
		t.Fatal(err)
	}
	topic := topicName(t)
	if err := c.CreateTopic(topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	login := &credentials{user: "brief", password: "secret"}
	p := open(t, c.Secure().Brief, over(nil, MechanismSHA512, login))
	f := drive(t, p, topic, 2, 3)
	for begun := time.Now(); time.Since(begun) < 5*time.Second; {
		f.more(10)
	}
	f.verdict(c.Brokers)
	if f.count(relay.Unknown) == 0 || login.asked < 4 {
		t.Errorf("no session ended: outcomes %v, %d logins: the run proves nothing", f.kinds, login.asked)
	}
}

// rightsRevoked (29, 31): a topic without right pauses alone and heals by itself; without any right there is no producer id.
func rightsRevoked(t *testing.T, c *testservices.Cluster) {
	s := c.Secure()
	topic, other := topicName(t), topicName(t)
	for _, name := range []string{topic, other} {
		if err := c.CreateTopic(name, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	change := over(s.Roots, MechanismPlain, &credentials{user: s.PlainUser, password: s.PlainPassword})
	revoke := func(topic string, f func(user, topic string) error) {
		t.Helper()
		if err := f(s.PlainUser, topic); err != nil {
			t.Fatal(err)
		}
	}
	denied := func(p *Publisher, batch []*relay.Message) {
		t.Helper()
		eventually(t, "denied", func() bool {
			o := publish(t, p, batch)[0]
			return o.Kind == relay.Config && o.Scope == relay.ScopeTopic && o.Code == "kafka/TOPIC_AUTHORIZATION_FAILED" && o.Class == relay.ClassDenied
		})
	}
	for name, change := range map[string]func(*Config){
		"all topics":   change,
		"named topics": func(cfg *Config) { change(cfg); cfg.Topics = []string{topic, other} },
	} {
		t.Run(name, func(t *testing.T) {
			before := 0
			if all := seqs(t, c.Brokers, topic); len(all) > 0 {
				before = len(all[0])
			}
			p := open(t, s.SASL, change)
			want(t, publish(t, p, ids(topic, "k", 1)), "acked 1")
			revoke(topic, c.Revoke)
			id := 2
			eventually(t, "revoked", func() bool { // a moment later
				o := publish(t, p, ids(topic, "k", id))[0]
				if o.Kind == relay.Acked {
					id++
				}
				return o.Kind == relay.Config
			})
			denied(p, ids(topic, "k", id))
			want(t, publish(t, p, ids(other, "k", 1)), "acked 1")
			p.compass.doubt() // as any leader that moves does: the topic is not even seen any more
			denied(p, ids(topic, "k", id))
			want(t, publish(t, p, ids(other, "k", 2)), "acked 1")
			late := open(t, s.SASL, change)
			denied(late, ids(topic, "k", id))
			want(t, publish(t, late, ids(other, "k", 3)), "acked 1")
			revoke(topic, c.Restore)
			untilAcked(t, p, ids(topic, "k", id))
			if all := seqs(t, c.Brokers, topic); len(all[0])-before != id {
				t.Errorf("%d records, want %d", len(all[0])-before, id)
			}
			if n := p.Counters().SessionsLapsed; n != 0 {
				t.Errorf("%d sessions lapsed after definite refusals", n)
			}
		})
	}

	revoke("*", c.Revoke)
	p := newPublisher(t, s.SASL, change)
	eventually(t, "no producer id", func() bool {
		var refused *relay.ConfigError
		err := p.Open(within(t, patience), 1)
		return errors.As(err, &refused) && refused.Class == relay.ClassDenied
	})
	wantLevel(t, check(t, p), "kafka.producer_id", "cluster", relay.LevelFail)
	revoke("*", c.Restore)
	eventually(t, "a producer id", func() bool { return p.Open(within(t, patience), 1) == nil })
	untilAcked(t, p, ids(other, "k", 4))
}
