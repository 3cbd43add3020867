package kafka

import (
	"time"

	"github.com/waybillmq/waybill/adapters/internal/cloudevents"
	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// encode fills the open batch with the next messages: as many as fit under the topic's limit, which counts what is sent, and at least one.
func (l *lane) encode(c *call) {
	most := int(l.topic.limit.Load()) - batchSpare
	pack := l.p.cfg.Compression.packer()
	for take := c.most; ; {
		if l.fill(c, take, most, pack != nil); len(l.index) == 0 {
			return
		}
		if pack != nil {
			l.squeeze(pack)
		}
		size, count := len(l.open.buf)-record.SizePrefix, len(l.index)
		if size <= most || count == 1 || pack == nil {
			break
		}
		take = max(1, min(count-1, int(int64(count)*int64(most)/int64(size)*9/10))) // the same messages, fewer of them, are about as much smaller
		giveBuffer(l.open.buf)
	}
	l.enc.Finish(l.open.buf, len(l.index), time.Now(), l.session.producer(), l.session.next)
}

// fill puts up to take messages into the open batch. Without compression it stops before the batch is larger than most bytes.
func (l *lane) fill(c *call, take, most int, compressed bool) {
	o := &l.open
	o.buf, o.ids = l.enc.Begin(takeBuffer()), o.ids[:0]
	l.index = l.index[:0]
	i := c.next
	for ; i < len(c.batch) && len(l.index) < take; i++ {
		if c.skip(i) {
			continue
		}
		m, err := cloudevents.Message(c.batch[i], record.EventPrefix)
		if err != nil {
			c.reject(i, relay.Outcome{Kind: relay.Rejected, Class: relay.ClassInvalid, Code: "kafka/NO_CLOUDEVENT", Detail: err.Error()})
			continue
		}
		before := len(o.buf)
		o.buf = l.enc.Add(o.buf, len(l.index), m)
		if !compressed && len(l.index) > 0 && len(o.buf)-record.SizePrefix > most {
			o.buf = o.buf[:before]
			break
		}
		o.ids = append(o.ids, c.batch[i].ID)
		l.index = append(l.index, i)
	}
	c.after = i
	if len(l.index) == 0 {
		o.clear()
	}
}

// squeeze compresses the open batch once and for all: it is these bytes that are sent again.
func (l *lane) squeeze(p *packer) {
	room := takeBuffer()
	if small, ok := l.enc.Squeeze(room, l.open.buf, p.codec, p.pack); ok {
		giveBuffer(l.open.buf)
		l.open.buf = small
	} else if room != nil {
		giveBuffer(room)
	}
}
