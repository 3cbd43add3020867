package rabbitmq

import (
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// channel is a channel with confirms; it belongs to one lane, and the lane's call owns every field.
type channel struct {
	gen      *generation
	amqp     *amqp.Channel
	returns  chan amqp.Return
	closed   chan *amqp.Error
	returned map[relay.ID]bool
	// sent is what was sent and has no outcome yet: also of earlier calls, whose time was over. Presented again, it is awaited and not sent again.
	sent   map[relay.ID]*delivery
	ghosts int // of earlier calls, never presented again, not answered
}

// delivery is one message on its way.
type delivery struct {
	confirm *amqp.DeferredConfirmation
	at      time.Time
}

// openChannel opens a channel. Returns have room for a whole window and more: the library drops what nobody takes for five seconds.
func openChannel(g *generation, window int) (*channel, error) {
	ch, err := g.conn.Channel()
	if err != nil {
		return nil, err
	}
	c := &channel{gen: g, amqp: ch, returned: map[relay.ID]bool{}, sent: map[relay.ID]*delivery{}}
	c.closed = ch.NotifyClose(make(chan *amqp.Error, 1))
	c.returns = ch.NotifyReturn(make(chan amqp.Return, 2*window))
	if err := ch.Confirm(false); err != nil {
		g.tasks.Go(func() { _ = ch.Close() })
		return nil, err
	}
	return c, nil
}

// live says whether it may be published through.
func (c *channel) live() bool { return c.gen.alive() && !c.amqp.IsClosed() }

// publish sends one message. An error means that the channel is of no use any more and the message may have left.
func (c *channel) publish(m *relay.Message, exchange, routingKey string, p amqp.Publishing) error {
	confirm, err := c.amqp.PublishWithDeferredConfirm(exchange, routingKey, true, false, p)
	if err != nil {
		return err
	}
	c.sent[m.ID] = &delivery{confirm: confirm, at: time.Now()}
	return nil
}

// keepOnly turns what was sent and is not presented any more into ghosts: only their number matters.
func (c *channel) keepOnly(batch []*relay.Message) {
	if len(c.sent) == 0 {
		return
	}
	kept := make(map[relay.ID]*delivery, len(c.sent))
	for _, m := range batch {
		if d := c.sent[m.ID]; d != nil {
			kept[m.ID] = d
		}
	}
	for id, d := range c.sent {
		if kept[id] == nil {
			select {
			case <-d.confirm.Done():
			default:
				c.ghosts++
			}
		}
	}
	c.sent = kept
}

// answer is what became of a delivery whose confirmation is done. The return of a message comes before its confirm, so it is in the channel by now.
func (c *channel) answer(id relay.ID, d *delivery) signal {
	delete(c.sent, id)
	c.takeReturns()
	back := c.returned[id]
	delete(c.returned, id)
	switch {
	case !d.confirm.Acked() && !c.live():
		return sigCut
	case !d.confirm.Acked():
		return sigNack
	case back:
		return sigReturned
	}
	return sigAck
}

func (c *channel) takeReturns() {
	for {
		select {
		case r, ok := <-c.returns:
			if !ok {
				return
			}
			seq, _ := r.Headers[record.HeaderSeq].(string)
			if id, err := strconv.ParseInt(seq, 10, 64); err == nil {
				c.returned[relay.ID(id)] = true
			}
		default:
			return
		}
	}
}

// why is the code with which the server closed the channel; 0 = another end.
func (c *channel) why() (code int, text string) {
	select {
	case e, ok := <-c.closed:
		if ok && e != nil && e.Server && c.gen.alive() {
			return e.Code, e.Reason
		}
	default:
	}
	return 0, ""
}

// letGo closes the channel without waiting for the server.
func (c *channel) letGo() { c.gen.tasks.Go(func() { _ = c.amqp.Close() }) }

// alarmed is generation.alarm.
func (c *channel) alarmed() (on bool, since time.Time, changed <-chan struct{}) { return c.gen.alarm() }
