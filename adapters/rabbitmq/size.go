package rabbitmq

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/relay"
)

// sizeWait bounds the whole search for the server's limit.
const sizeWait = 5 * time.Second

// tooSlow stands for a largest payload that was not found in time: a link that is slow is not filled again and again.
const tooSlow = -1

var (
	errAlarm    = errors.New("the server has an alarm and takes no messages")
	errNoAnswer = errors.New("the connection ended before the answer")
	errSlow     = fmt.Errorf("there was no answer within %v, and it is not tried again before a message is refused", sizeWait)
)

// size says what the server does with a payload of MaxMessageBytes, and sets the limit of every target. No protocol and no page of the management plugin tells
// max_message_size, so payloads are tried. It may cost the connection, so it comes last.
func (r *report) size(ctx context.Context, targets []string) {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, sizeWait)
	defer cancel()
	stop := context.AfterFunc(ctx, r.g.end)
	defer stop()
	want := r.p.cfg.MaxMessageBytes
	most, err := want, error(nil)
	switch known := int(r.p.taken.Load()); known {
	case want:
	case tooSlow:
		err = errSlow
	default:
		payload := make([]byte, want)
		most, err = largest(known, want, func(n int) (bool, error) { return r.g.takes(ctx, payload[:n]) })
		switch {
		case err == nil:
			r.p.taken.Store(int64(most))
		case ctx.Err() != nil && whole.Err() == nil && !errors.Is(err, errAlarm):
			r.p.taken.Store(tooSlow)
			err = errSlow
		}
	}
	switch {
	case err != nil:
		r.add("rabbitmq.max_message_size", relay.LevelUnseen, r.g.host, fmt.Sprintf("whether the server takes payloads of %d bytes could not be tried: %v", want, err), sizeFix(err))
	case most < want:
		r.add("rabbitmq.max_message_size", relay.LevelWarn, r.g.host, fmt.Sprintf("the server takes payloads of %d bytes and refuses larger ones, max_message_bytes is %d", most, want),
			"raise the server's max_message_size, or lower max_message_bytes")
	default:
		r.add("rabbitmq.max_message_size", relay.LevelOK, r.g.host, fmt.Sprintf("payloads of %d bytes are taken", want), "")
	}
	r.found.Limit = most
	for _, name := range targets {
		r.found.Limits[name] = most
	}
}

// sizeFix says what to do when sizes could not be tried.
func sizeFix(err error) string {
	const compare = "compare max_message_bytes with the server's max_message_size"
	var e *amqp.Error
	switch {
	case errors.Is(err, errAlarm):
		return "end the alarm (rabbitmq-diagnostics alarms names it): messages wait for that too, and the size is tried again"
	case errors.As(err, &e) && e.Code == amqp.AccessRefused:
		return "let the user write to the default exchange (amq.default), or " + compare
	default:
		return compare
	}
}

// takes asks whether the server takes a payload, which goes through the default exchange to a queue that does not exist, and the server forgets it. An alarm ends the
// generation.
func (g *generation) takes(ctx context.Context, payload []byte) (yes bool, err error) {
	err = throwAway(g.conn, func(ch *amqp.Channel) error {
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		if err := ch.Confirm(false); err != nil {
			return err
		}
		confirm, err := ch.PublishWithDeferredConfirm("", "waybill.size."+rand.Text(), false, false, amqp.Publishing{Body: payload})
		if err != nil {
			return whyClosed(ctx, closed)
		}
		on, _, changed := g.alarm()
		for !on {
			select {
			case <-confirm.Done():
				if yes = confirm.Acked(); yes {
					return nil
				}
				return whyClosed(ctx, closed)
			case <-changed:
				on, _, changed = g.alarm()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		g.end() // a server that does not read does not answer a close either
		return errAlarm
	})
	var e *amqp.Error
	if errors.As(err, &e) && e.Server && e.Code == amqp.PreconditionFailed {
		return false, nil
	}
	if on, _, _ := g.alarm(); on && err != nil { // it came while the payload was being written, which then never ends
		return false, errAlarm
	}
	return yes, err
}

// whyClosed waits for the reason why a channel is of no use any more: the server may give it while the payload is still being written.
func whyClosed(ctx context.Context, closed <-chan *amqp.Error) error {
	select {
	case e, ok := <-closed:
		if ok && e != nil {
			return e
		}
		return errNoAnswer
	case <-ctx.Done():
		return ctx.Err()
	}
}

// largest finds the largest n from 0 to most that takes allows; what it allows is never above what it refuses. It asks for 0 first, which tells a refusal for
// other reasons from one for the size, and then around known, what was found before (0 = nothing was). With an error it returns the least that was not refused.
func largest(known, most int, takes func(n int) (bool, error)) (int, error) {
	low, high := -1, most+1
	try := func(n int) error {
		if n <= low || n >= high {
			return nil
		}
		yes, err := takes(n)
		switch {
		case err != nil:
		case yes:
			low = n
		default:
			high = n
		}
		return err
	}
	first := []int{0, most}
	if known > 0 {
		first = []int{0, known, known + 1, most}
	}
	for _, n := range first {
		if err := try(n); err != nil {
			return high - 1, err
		}
	}
	if low < 0 {
		return most, errors.New("an empty payload is refused too")
	}
	for high-low > 1 {
		if err := try(low + (high-low)/2); err != nil {
			return high - 1, err
		}
	}
	return low, nil
}
