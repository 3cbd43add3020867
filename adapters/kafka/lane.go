package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// lane is one partition. Everything but busy and slow belongs to the one Publish call that runs.
type lane struct {
	p     *Publisher
	topic *topic
	at    relay.Lane
	busy  atomic.Bool // a Publish runs: two at once are a broken invariant
	slow  atomic.Bool // the last answer took long: set by the sender

	session session
	open    openBatch
	enc     record.Encoder
	flight  *flight // of the open batch, still out when the Publish before gave up waiting
	index   []int   // batch index of each open message
}

// run publishes batch and fills out. It sends one record batch after the other: usually one; more when the topic's limit is smaller than the batch, or when
// the broker refused a message and the others are innocent. It ends with the first answer that is neither acked nor a definite refusal.
func (l *lane) run(ctx context.Context, batch []*relay.Message, out []relay.Outcome) {
	c := call{batch: batch, out: out, most: len(batch)}
	if l.flight != nil && !l.await(ctx, &c) {
		return
	}
	if l.open.isOpen() && !l.open.leads(batch[c.next:]) {
		l.drop()
	}
	for c.next < len(batch) {
		a, sent := l.attempt(ctx, &c)
		if !sent {
			return
		}
		r := l.conclude(a)
		if !l.settle(&c, r, a) {
			return
		}
	}
}

// call is the state of one Publish.
type call struct {
	batch []*relay.Message
	out   []relay.Outcome
	next  int            // batch[:next] is decided
	after int            // what next becomes when the open batch is decided
	most  int            // records of one batch, halved to find the culprit
	shut  map[string]int // keys of rejected messages, with the index of the first: later ones are not sent
}

// decided says whether message i has its outcome already. Acked ones are always below next.
func (c *call) decided(i int) bool { return c.out[i].Class != "" }

// rest gives everything that has no outcome the same one.
func (c *call) rest(o relay.Outcome) {
	for i := c.next; i < len(c.batch); i++ {
		if !c.decided(i) {
			c.out[i] = o
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
	if c.decided(i) {
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

// await waits for the flight that an earlier Publish left behind, and takes its answer for what it is: an ack counts for the same messages now.
func (l *lane) await(ctx context.Context, c *call) bool {
	leads := l.open.leads(c.batch)
	l.index = l.index[:0]
	if leads {
		l.indexOpen(c)
	}
	select {
	case <-l.flight.done:
	case <-ctx.Done():
		l.unanswered(c)
		return false
	}
	a := l.flight.answer
	l.flight = nil
	if r := l.conclude(a); r.kind == relay.Acked && leads {
		return l.settle(c, r, a)
	}
	return true
}

// drop gives up an open batch because something else is presented. If it may be stored, its sequence numbers are burnt with the session.
func (l *lane) drop() {
	if l.open.sent {
		l.lapse()
		return
	}
	l.open.clear()
}

func (l *lane) lapse() {
	if l.session.pid != noProducer {
		l.session.live = false
		l.p.lapsed.Add(1)
	}
	l.open.clear()
}

// attempt encodes what comes next, unless a batch is open already, and sends it. False: there is nothing more to do, all outcomes are set.
func (l *lane) attempt(ctx context.Context, c *call) (answer, bool) {
	if l.open.isOpen() {
		l.index = l.index[:0]
		l.indexOpen(c)
	} else {
		if a, ok := l.ready(ctx); !ok {
			l.mark(c)
			return a, true
		}
		if l.encode(c); len(l.index) == 0 {
			c.next = len(c.batch)
			return answer{}, false
		}
	}
	leader, sig, detail := l.p.leader(ctx, l.at)
	if sig != 0 {
		return answer{sig: sig, detail: detail}, true
	}
	if l.p.cfg.Trust != nil && !l.p.cfg.Trust() {
		return answer{sig: sigUntrusted}, true
	}
	if ctx.Err() != nil {
		return answer{sig: sigLate}, true
	}
	f := &flight{lane: l, buf: l.open.buf, done: make(chan struct{})}
	s := l.p.sender(leader)
	s.submit(f)
	select {
	case <-f.done:
		return f.answer, true
	case <-ctx.Done():
	}
	if s.withdraw(f) {
		return answer{sig: sigLate}, true
	}
	l.flight = f
	l.open.sent, l.open.unsure, l.open.shared = true, true, true
	l.unanswered(c)
	return answer{}, false
}

// mark names the messages that an attempt would have carried, when it could not even be encoded.
func (l *lane) mark(c *call) {
	l.index = l.index[:0]
	c.after = len(c.batch)
	for i := c.next; i < len(c.batch); i++ {
		if !c.skip(i) {
			l.index = append(l.index, i)
		}
	}
}

// indexOpen says that the open batch is batch[next:] so far as it goes.
func (l *lane) indexOpen(c *call) {
	for i := range l.open.ids {
		l.index = append(l.index, c.next+i)
	}
	c.after = c.next + len(l.open.ids)
}

// unanswered sets the outcomes when the caller's time is over while a flight is out: what it carries is unknown, the rest was not sent.
func (l *lane) unanswered(c *call) {
	o := rules[sigTimeout].outcome(sigTimeout, l.at.Topic, "")
	for _, i := range l.index {
		c.out[i] = o
	}
	c.rest(behind(o))
}

// behind is the outcome of messages that were not sent because o happened to the ones before them.
func behind(o relay.Outcome) relay.Outcome {
	if o.Kind == relay.Unknown {
		o.Kind, o.Scope = relay.Unavailable, relay.ScopeLane
		o.Detail = "not sent, because the messages before it in this lane are not answered: " + o.Detail
	}
	return o
}

// ready makes sure that the lane has a session.
func (l *lane) ready(ctx context.Context) (answer, bool) {
	if l.session.live {
		return answer{}, true
	}
	s, err := l.p.control.producerID(ctx)
	if err == nil {
		l.session = s
		return answer{}, true
	}
	a := answer{sig: sigNoSession, detail: reason(err)}
	var code codeError
	if r := l.p.dialer.refusal(err); r != nil {
		a.sig, a.detail = r.sig, r.addr+": "+r.words
	} else if errors.As(err, &code) && rules[signal(code)].kind == relay.Config {
		a.sig = signal(code)
	}
	return a, false
}

// conclude moves the session and the open batch by what is known now.
func (l *lane) conclude(a answer) rule {
	o := &l.open
	if a.sig == 2 {
		o.corrupt++
	} else if a.sent {
		o.corrupt = 0
	}
	r, listed := decide(a.sig, o.sent, o.unsure, o.corrupt)
	if !listed {
		l.p.unlisted.Add(1)
	}
	if a.sent {
		o.sent = o.sent || r.do&refused == 0
		o.shared = o.shared || !a.answered
		o.unsure = o.unsure || r.kind == relay.Unknown && r.do&damaged == 0
	}
	switch {
	case r.kind == relay.Acked:
		l.session.advance(len(o.ids))
		o.clear()
	case r.do&lapse != 0:
		l.lapse()
	case r.do&refused != 0 && !o.sent:
		o.clear()
	}
	if a.sig == 10 {
		l.p.tooLarge.Add(1)
		l.topic.doubt.Store(true)
		l.p.kick()
	}
	l.p.act(r.do)
	return r
}

// settle turns an answer into outcomes and says whether to go on with the rest.
func (l *lane) settle(c *call, r rule, a answer) bool {
	if r.kind == relay.Acked {
		for k, i := range l.index {
			c.out[i] = acked(a, k)
		}
		c.next = c.after
		c.most = min(2*c.most, len(c.batch))
		return true
	}
	o := r.outcome(a.sig, l.at.Topic, a.detail)
	o.After = a.throttle
	if r.do&split == 0 {
		for _, i := range l.index {
			c.out[i] = o
		}
		c.rest(behind(o))
		return false
	}
	switch named := l.named(a); {
	case len(l.index) == 1:
		c.reject(l.index[0], o)
		c.next = c.after
		c.most = len(c.batch)
	case len(named) > 0:
		for k, rec := range a.records {
			if int(rec) < len(l.index) && rec >= 0 {
				c.reject(l.index[rec], r.outcome(a.sig, l.at.Topic, a.words[k]))
			}
		}
	default:
		c.most = len(l.index) / 2
	}
	return true
}

// named are the records that the broker refused by index; nothing when it named none that we sent.
func (l *lane) named(a answer) (valid []int32) {
	for _, rec := range a.records {
		if rec >= 0 && int(rec) < len(l.index) {
			valid = append(valid, rec)
		}
	}
	return valid
}

// acked is the outcome of record k of an acked batch.
func acked(a answer, k int) relay.Outcome {
	o := relay.Outcome{Kind: relay.Acked, After: a.throttle}
	if a.sig == 0 && a.offset >= 0 {
		o.At = relay.Position{Offset: a.offset + int64(k), HasOffset: true}
	}
	return o
}

// enter and leave guard the rule of one Publish per lane.
func (l *lane) enter() {
	if !l.busy.CompareAndSwap(false, true) {
		panic(fmt.Sprintf("kafka: two batches at once in lane %v", l.at))
	}
}

func (l *lane) leave() { l.busy.Store(false) }
