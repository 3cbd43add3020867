package relaytest

import (
	"errors"
	"slices"

	"github.com/waybillmq/waybill/relay"
)

// lossCases: ambiguous answers.
var lossCases = map[string]func(*publisherCase){
	"R16 E1 unknown, then the same batch": func(c *publisherCase) {
		for _, lose := range []func(){c.target.(Faulty).LoseAnswer, c.target.(Faulty).LoseRequest} {
			topic := c.target.Topic(1)
			p := c.open(1)
			before, batch, after := c.messages(topic, "k", 2), c.bulky(topic, "k"), c.messages(topic, "k", 2)
			c.acked(p, before)
			lose()
			c.lost(p, batch)
			c.acked(p, batch)
			c.acked(p, after)
			c.verify(topic, slices.Concat(before, batch, after), func(n int) bool { return n == 1 || (n == 2 && !c.traits.Dedupes) })
		}
	},
	"R16 E6 unknown, then a different batch: nothing is lost": func(c *publisherCase) {
		topic := c.target.Topic(1)
		p := c.open(1)
		c.acked(p, c.messages(topic, "other", 1))
		var all []*relay.Message
		for _, lose := range []func(){c.target.(Faulty).LoseAnswer, c.target.(Faulty).LoseRequest} {
			batch := c.bulky(topic, "k")
			all = append(all, batch...)
			lose()
			c.lost(p, batch)
			c.acked(p, batch[len(batch)/5:max(1, len(batch)*4/5)])
			c.acked(p, batch)
		}
		stored := map[string]int{}
		for _, r := range c.target.Stored(topic) {
			stored[r.Message.MessageID]++
		}
		for _, m := range all {
			if stored[m.MessageID] == 0 {
				c.t.Errorf("message %s is lost", m.MessageID)
			}
		}
	},
}

// fenceCases: an older epoch is refused by the broker.
var fenceCases = map[string]func(*publisherCase){
	"I10 an older epoch is refused": func(c *publisherCase) {
		topic := c.target.Topic(2)
		old := c.open(4)
		c.acked(old, c.messages(topic, "k", 1))
		next := c.open(5)
		late := c.messages(topic, "k", 2)
		for _, o := range c.publish(old, late) {
			if o.Kind != relay.Unavailable || !o.Fenced {
				c.t.Errorf("a batch of the older epoch: %+v", o)
			}
		}
		c.acked(next, c.messages(topic, "k", 1))
		if err := old.Open(c.ctx(), 4); !errors.Is(err, relay.ErrFenced) {
			c.t.Errorf("open of the older epoch: %v, want ErrFenced", err)
		}
		if n := len(c.target.Stored(topic)); n != 2 {
			c.t.Errorf("%d records, want 2", n)
		}
	},
}
