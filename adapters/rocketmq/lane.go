package rocketmq

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/waybillmq/waybill/relay"
)

// lane is one queue. Everything but busy belongs to the one Publish call that runs.
type lane struct {
	p     *Publisher
	topic *topic
	at    relay.Lane
	queue queue
	busy  atomic.Bool // a Publish runs: two at once are a broken invariant

	flight  *flight               // still out when the Publish before gave up waiting; nothing is sent until it is over
	doubt   map[relay.ID]struct{} // messages that an earlier try may have stored
	alone   int                   // answers SLAVE_NOT_AVAILABLE since the last ack
	part    []encoded             // what is being sent
	commits committer             // of half messages
	ids     []relay.ID
	index   []int // batch index of each message of part
}

// call is the state of one Publish.
type call struct {
	batch []*relay.Message
	out   []relay.Outcome
	next  int            // batch[:next] is decided
	after int            // what next becomes when the part is decided
	most  int            // messages of one part, halved to find the culprit
	shut  map[string]int // keys of rejected messages, with the index of the first: later ones are not sent
}

// run publishes batch and fills out. It sends one part after the other: usually one; more when the broker's limit is smaller than the batch, or when it refused a
// message and the others are innocent. It ends with the first answer that is neither acked nor a definite refusal.
func (l *lane) run(ctx context.Context, batch []*relay.Message, out []relay.Outcome) {
	c := call{batch: batch, out: out, most: len(batch)}
	if l.p.cfg.Transactional {
		c.most = 1
	}
	l.forget(batch)
	if l.flight != nil && !l.await(ctx, &c) {
		return
	}
	for c.next < len(batch) {
		if l.p.cfg.Transactional && batch[c.next].Key != "" {
			l.index = append(l.index[:0], c.next)
			l.settle(&c, answer{sig: sigKeyed})
			return
		}
		l.pick(&c)
		if len(l.index) == 0 {
			c.next = len(batch)
			return
		}
		a, over := l.send(ctx)
		if !over {
			l.settle(&c, answer{sig: sigTimeout})
			return
		}
		if !l.settle(&c, a) {
			return
		}
	}
}

// forget drops doubts about messages that are not presented any more: the engine remembers those.
func (l *lane) forget(batch []*relay.Message) {
	if len(l.doubt) == 0 {
		return
	}
	kept := map[relay.ID]struct{}{}
	for _, m := range batch {
		if _, in := l.doubt[m.ID]; in {
			kept[m.ID] = struct{}{}
		}
	}
	l.doubt = kept
}

// await waits for the flight that an earlier Publish left behind. Its ack counts for the same messages now; what else it brings is only learnt.
func (l *lane) await(ctx context.Context, c *call) bool {
	f := l.flight
	if !l.p.wait(ctx, f.done) {
		o := rules[sigBusy].outcome(sigBusy, l.at.Topic, "")
		for i, m := range c.batch {
			if c.out[i] = o; l.doubted(m.ID) {
				r, _ := decide(sigBusy, true)
				c.out[i] = r.outcome(sigBusy, l.at.Topic, "")
			}
		}
		return false
	}
	l.flight = nil
	if f.answer.sig != 0 || !leads(f.ids, c.batch) {
		return true
	}
	l.index = l.index[:0]
	for i := range f.ids {
		l.index = append(l.index, i)
	}
	c.after = len(f.ids)
	return l.settle(c, f.answer)
}

// leads says whether the batch begins with exactly these messages.
func leads(ids []relay.ID, batch []*relay.Message) bool {
	if len(batch) < len(ids) {
		return false
	}
	for i, id := range ids {
		if batch[i].ID != id {
			return false
		}
	}
	return true
}

// wait waits for a flight as long as the library, and a commit, may take, and ctx allows.
func (p *Publisher) wait(ctx context.Context, done <-chan struct{}) bool {
	limit := sendWait
	if p.cfg.Transactional {
		limit += commitWait
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// pick encodes what comes next: as many messages as fit under the broker's limit, at least one. What RocketMQ cannot carry is rejected on the way.
func (l *lane) pick(c *call) {
	limit := int(l.topic.limit.Load())
	l.part, l.ids, l.index = l.part[:0], l.ids[:0], l.index[:0]
	bytes, i := 0, c.next
	for ; i < len(c.batch) && len(l.index) < c.most; i++ {
		if c.skip(i) {
			continue
		}
		m := c.batch[i]
		e, class, why := encode(m, l.p.cfg.Tombstone, l.p.clusterLength())
		if l.p.cfg.Transactional && why == "" {
			e.asHalf(l.p.halves(), rand.Int64())
			class, why = relay.ClassTooLarge, e.tooLarge(limit, l.p.clusterLength())
		}
		if why != "" {
			c.reject(i, relay.Outcome{Kind: relay.Rejected, Class: class, Code: "rocketmq/local", Detail: fmt.Sprintf("rocketmq topic %q: %s", l.at.Topic, why)})
			continue
		}
		if len(l.index) > 0 && bytes+e.size() > limit {
			break
		}
		bytes += e.size()
		l.part, l.ids, l.index = append(l.part, e), append(l.ids, m.ID), append(l.index, i)
	}
	c.after = i
}

// send sends the part and waits for its answer. False: it is still out and may be stored.
func (l *lane) send(ctx context.Context) (answer, bool) {
	cl, a := l.p.borrow(ctx)
	if cl == nil {
		return a, true
	}
	if ctx.Err() != nil {
		l.p.giveBack(cl)
		return answer{sig: sigLate}, true
	}
	var finish func(*primitive.SendResult) answer
	if l.p.cfg.Transactional {
		if a := l.prepare(ctx); a.sig != 0 {
			l.p.giveBack(cl)
			return l.noticed(ctx, cl, a), true
		}
		e := l.part[0]
		finish = func(res *primitive.SendResult) answer { return l.commit(res, e) }
	}
	f := cl.launch(l.at.Topic, l.queue, l.part, append([]relay.ID(nil), l.ids...), finish, func() { l.p.giveBack(cl) })
	if !l.p.wait(ctx, f.done) {
		if f.state.CompareAndSwap(flightWaits, flightOff) { // the library was still looking for the route: it will not leave any more
			if ctx.Err() == nil {
				l.p.act(cl, suspect) // over a connection to a name server that is dead, perhaps: the library waits for one for 45 s
			}
			return answer{sig: sigLate}, true
		}
		l.flight = f
		l.p.act(cl, rules[sigTimeout].do)
		return answer{}, false
	}
	return l.noticed(ctx, cl, f.answer), true
}

// noticed does what an answer asks of the publisher, and finds out more about a missing route.
func (l *lane) noticed(ctx context.Context, cl *client, a answer) answer {
	if a.sig == sigNoRoute {
		a = l.p.whyNoRoute(ctx, cl, l, a)
	}
	if r, listed := decide(a.sig, false); listed {
		l.p.act(cl, r.do)
	} else {
		l.p.unlisted.Add(1)
	}
	return a
}

// doubted says whether an earlier try may have stored a message.
func (l *lane) doubted(id relay.ID) bool {
	_, in := l.doubt[id]
	return in
}

// settle turns an answer about the part into outcomes and says whether to go on with the rest.
func (l *lane) settle(c *call, a answer) bool {
	r, _ := decide(a.sig, false)
	l.watchSlave(a.sig)
	switch {
	case r.kind == relay.Acked:
		for k, i := range l.index {
			c.out[i] = relay.Outcome{Kind: relay.Acked, At: relay.Position{Offset: a.offset + int64(k), HasOffset: true}}
			delete(l.doubt, c.batch[i].ID)
		}
		c.next = c.after
		if !l.p.cfg.Transactional {
			c.most = min(2*c.most, len(c.batch))
		}
		return true
	case r.do&split != 0 && len(l.index) > 1:
		c.most = len(l.index) / 2
		return true
	case r.do&split != 0:
		c.reject(l.index[0], r.outcome(a.sig, l.at.Topic, a.detail))
		c.next = c.after
		if !l.p.cfg.Transactional {
			c.most = len(c.batch)
		}
		return true
	}
	l.stop(c, r, a)
	return false
}

// alarmAt is the answer SLAVE_NOT_AVAILABLE, counted from the last ack, at which a person is told: the first two may be a slave that restarts.
const alarmAt = 3

// watchSlave tells a person once that a master has no slave, and again when that comes back after an ack.
func (l *lane) watchSlave(s signal) {
	switch s {
	case sigStored:
		l.alone = 0
	case sigNoSlave:
		if l.alone++; l.alone == alarmAt {
			log.Load().Warn("rocketmq: this master stores without a slave, so nothing that is sent to it counts as sent, and each try stores a copy; "+
				"start its slave, or allow fewer in-sync replicas at the broker", "broker", l.queue.broker, "topic", l.at.Topic, "queue", l.queue.id)
		}
	}
}

// stop ends a call with the answer about the part: what comes behind it was not sent.
func (l *lane) stop(c *call, r rule, a answer) {
	for _, i := range l.index {
		id := c.batch[i].ID
		mine, _ := decide(a.sig, l.doubted(id))
		c.out[i] = mine.outcome(a.sig, l.at.Topic, a.detail)
		if r.kind == relay.Unknown {
			if l.doubt == nil {
				l.doubt = map[relay.ID]struct{}{}
			}
			l.doubt[id] = struct{}{}
		}
	}
	rest := r.outcome(a.sig, l.at.Topic, a.detail)
	if rest.Kind == relay.Unknown {
		rest.Kind, rest.Scope = relay.Unavailable, relay.ScopeLane
		rest.Detail = "not sent, because the messages before it in this lane are not answered: " + rest.Detail
	}
	for i := c.next; i < len(c.batch); i++ {
		if c.out[i].Class != "" {
			continue
		}
		if c.out[i] = rest; l.doubted(c.batch[i].ID) {
			c.out[i].Kind, c.out[i].Scope, c.out[i].Earlier = relay.Unknown, 0, true
		}
	}
}

// reject gives message i up, and keeps the later ones of its key from overtaking it.
func (c *call) reject(i int, o relay.Outcome) {
	c.out[i] = o
	if key := c.batch[i].Key; key != "" {
		if c.shut == nil {
			c.shut = map[string]int{}
		}
		key = c.batch[i].Topic + "\x00" + key
		if first, shut := c.shut[key]; !shut || i < first {
			c.shut[key] = i
		}
	}
}

// skip says whether message i must not be sent, and gives it its outcome.
func (c *call) skip(i int) bool {
	if c.out[i].Class != "" {
		return true
	}
	m := c.batch[i]
	if len(c.shut) == 0 || m.Key == "" {
		return false
	}
	if first, shut := c.shut[m.Topic+"\x00"+m.Key]; !shut || i < first {
		return false
	}
	c.out[i] = relay.Outcome{Kind: relay.Unavailable, Scope: relay.ScopeKey, Class: relay.ClassRefused, Detail: "not sent: an earlier message of its key was rejected"}
	return true
}

// enter and leave guard the rule of one Publish per lane.
func (l *lane) enter() {
	if !l.busy.CompareAndSwap(false, true) {
		panic(fmt.Sprintf("rocketmq: two batches at once in lane %v", l.at))
	}
}

func (l *lane) leave() { l.busy.Store(false) }
