package relaytest

import (
	"fmt"
	"sync"

	"github.com/waybillmq/waybill/relay"
)

// keyCases are for publishers of messages with a key.
var keyCases = map[string]func(*publisherCase){
	"R14 keys keep their order over many lanes": func(c *publisherCase) {
		topic := c.target.Topic(4)
		p := c.open(1)
		var all []*relay.Message
		for range 40 {
			for k := range 50 {
				all = append(all, c.message(topic, fmt.Sprint("key ", k), "x"))
			}
		}
		c.send(p, all, min(30, c.traits.MaxBatch))
		c.verify(topic, all, once)
	},
	"R15 behind a poisoned message nothing of its key is acked": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		batch := c.messages(topic, "k", 5)
		c.target.Poison(batch[2])
		outcomes := c.publish(p, batch)
		for i, o := range outcomes {
			if want := i < 2; (o.Kind == relay.Acked) != want {
				c.t.Errorf("message %d: %+v", i, o)
			}
			if i > 2 && (o.Kind != relay.Unavailable || o.Scope != relay.ScopeKey) {
				c.t.Errorf("message %d behind the poison: %+v, want unavailable(key)", i, o)
			}
		}
		c.verify(topic, batch[:2], once)
	},
	"P4 I8 a lane is a pure function of the message": func(c *publisherCase) {
		topic := c.target.Topic(5)
		p, q := c.open(1), c.open(2)
		seen := map[relay.Lane]bool{}
		var workers sync.WaitGroup
		for i := range 300 {
			m := c.message(topic, fmt.Sprint("key ", i), "x")
			lane := p.Lane(m)
			seen[lane] = true
			other := c.message(topic, m.Key, "another payload")
			workers.Go(func() {
				for range 10 {
					if p.Lane(m) != lane || p.Lane(other) != lane || q.Lane(m) != lane {
						c.t.Errorf("key %q has more than one lane", m.Key)
					}
				}
			})
		}
		workers.Wait()
		if len(seen) != 5 {
			c.t.Errorf("300 keys use %d of 5 lanes", len(seen))
		}
		spread := map[relay.Lane]bool{}
		for i := range 20 {
			m := c.message(topic, "", "x")
			m.ID = relay.ID(i * 1000)
			spread[p.Lane(m)] = true
		}
		if len(spread) < 2 {
			c.t.Error("messages without a key use one lane only")
		}
	},
}
