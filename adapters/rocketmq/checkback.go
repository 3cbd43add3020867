package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

const (
	beatEvery  = 20 * time.Second // a broker forgets a producer that says nothing for 120 s
	judgeLimit = 2 * time.Second  // for the receipts of one message
	comeBack   = time.Second      // before a broker is connected to again
)

// attendAll begins to answer what the masters of the cluster ask about halves, those of owners before this one included. Each broker has a goroutine, which ends
// when the publisher closes.
//
// The connections are ours, and in a group of their own: the library would hand each question to a goroutine that outlives its client, and commit one-way.
func (p *Publisher) attendAll() {
	_, list, _ := strings.Cut(p.ClusterID(), "/")
	brokers := strings.Split(list, ",")
	for _, t := range *p.pins.Load() {
		brokers = append(brokers, t.brokers()...)
	}
	slices.Sort(brokers)
	for _, broker := range slices.Compact(brokers) {
		p.tasks.Go(func() {
			for p.calls.Context().Err() == nil {
				err := p.attend(p.calls.Context(), broker)
				log.Load().Debug("rocketmq: nobody answers what a broker asks about half messages; connecting again", "broker", broker, "error", err)
				t := time.NewTimer(comeBack)
				select {
				case <-t.C:
				case <-p.calls.Context().Done():
				}
				t.Stop()
			}
		})
	}
}

// attend registers with a broker as a producer of the group and answers its questions until the connection ends.
func (p *Publisher) attend(ctx context.Context, broker string) error {
	found, err := p.registered(ctx)
	if err != nil {
		return err
	}
	b := found.Brokers[broker]
	if b.master() == "" {
		return errors.New("it has no master now")
	}
	l, err := p.probe.dial(ctx, b.master())
	if err != nil {
		return err
	}
	frames, broken := make(chan []byte), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer l.Close()
	defer cancel()
	reader.Go(func() { broken <- l.frames(ctx, frames) })
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	if err := p.beat(l); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case <-beat.C:
			err = p.beat(l)
		case frame := <-frames:
			err = p.answerCheck(ctx, l, frame)
		}
		if err != nil {
			return err
		}
	}
}

// frames passes on what comes, until the connection is closed or silent for longer than its heartbeats are.
func (l *link) frames(ctx context.Context, to chan<- []byte) error {
	for {
		_ = l.SetReadDeadline(time.Now().Add(3 * beatEvery))
		frame, err := readFrame(l)
		if err != nil {
			return err
		}
		select {
		case to <- frame:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// say writes a request whose answer is read elsewhere.
func (l *link) say(code int, fields map[string]string, body []byte) error {
	l.next++
	frame, err := (&command{Code: code, Opaque: l.next, ExtFields: fields, body: body}).encode(l.as)
	if err != nil {
		return err
	}
	_ = l.SetWriteDeadline(time.Now().Add(l.p.write))
	_, err = l.Write(frame)
	return err
}

// beat says that this process is a living producer of the group.
func (p *Publisher) beat(l *link) error {
	type producer struct {
		Group string `json:"groupName"`
	}
	body, err := json.Marshal(map[string]any{"clientID": instancePrefix(&p.cfg) + strconv.Itoa(os.Getpid()) + halfGroup, "producerDataSet": []producer{{p.halves()}},
		"consumerDataSet": []string{}})
	if err != nil {
		return err
	}
	return l.say(reqHeartbeat, nil, body)
}

// answerCheck answers one question. What is no question, or not about a half of ours, is passed over.
func (p *Publisher) answerCheck(ctx context.Context, l *link, frame []byte) error {
	c, err := decode(frame)
	if err != nil {
		return err
	}
	if c.Flag&1 != 0 {
		if c.Code != 0 {
			log.Load().Debug("rocketmq: a broker refused the answer to its question about a half message", "error", firstLine(c.Remark))
		}
		return nil
	}
	if c.Code != reqCheckBack {
		return nil
	}
	q, err := readQuestion(c)
	if err != nil {
		log.Load().Debug("rocketmq: a broker asked about a message that is no half of a relay", "error", err)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, judgeLimit)
	defer cancel()
	var receipts []relay.Position
	if p.cfg.Receipts != nil {
		if receipts, err = p.cfg.Receipts(ctx, q.id, q.messageID); err != nil {
			receipts = nil // it asks again
		}
	}
	v := judge(q.number, receipts)
	p.judged[v>>2].Add(1)
	q.half.group = p.halves()
	return l.say(reqEnd, q.half.fields(v), nil)
}

// question is a broker's about one half.
type question struct {
	half      half
	id        relay.ID
	messageID string
	number    int64
}

// readQuestion reads CHECK_TRANSACTION_STATE: the head names the place of the half now, the body is the message.
func readQuestion(c *command) (q question, err error) {
	q.half = half{unique: c.ExtFields["msgId"], checked: true}
	for name, to := range map[string]*int64{"tranStateTableOffset": &q.half.queueOffset, "commitLogOffset": &q.half.logOffset} {
		if *to, err = strconv.ParseInt(c.ExtFields[name], 10, 64); err != nil {
			return q, errFrame
		}
	}
	n := 0
	err = decodeStored(c.body, func(r Record) error {
		n++
		m, err := r.Message("")
		if err != nil {
			return err
		}
		text, _ := r.Property(propHalf)
		q.id, q.messageID = m.ID, m.MessageID
		q.number, err = strconv.ParseInt(text, 10, 64)
		return err
	})
	if err == nil && (n != 1 || q.id == 0 || q.messageID == "") {
		err = fmt.Errorf("%w, or without %s", errStored, record.HeaderSeq)
	}
	return q, err
}
