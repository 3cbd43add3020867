package rabbitmq

import (
	"context"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// readIdle is how long ReadAll waits for a message that the queue has said to have.
const readIdle = 30 * time.Second

// maxUnacknowledged is the most that one consumer may be given (prefetch-count has 16 bits).
const maxUnacknowledged = 1<<16 - 1

// Record is one message as it lies in a queue.
type Record struct {
	Exchange    string // it came through; empty = the default exchange
	RoutingKey  string
	MessageID   string
	Type        string
	ContentType string
	At          time.Time // timestamp, to the second
	Body        []byte
	Headers     map[string]any
	Redelivered bool
}

// Header returns a header that is text.
func (r *Record) Header(name string) (string, bool) {
	v, ok := r.Headers[name].(string)
	return v, ok
}

// ReadAll gives f every message that lies ready in a queue when it is called, in the order of the queue, and leaves them there: nothing is acknowledged, so the
// server puts them back in their places when the reading ends, as redelivered. A quorum queue with a delivery limit counts each reading. Meanwhile other
// consumers do not see them, and what others hold is not seen. Streams cannot be read so. It ends with the first error of f. Of cfg it uses how to connect;
// the record is f's to keep.
func ReadAll(ctx context.Context, cfg Config, queue string, f func(Record) error) error {
	return session(ctx, cfg, func(conn *amqp.Connection) error {
		var q amqp.Queue
		err := throwAway(conn, func(ch *amqp.Channel) (err error) {
			q, err = ch.QueueDeclarePassive(queue, true, false, false, false, nil)
			return err
		})
		if err != nil {
			return err
		}
		// One consumer after the other, each on a channel of its own, and let go in the same order: so the messages go back as they came.
		var channels []*amqp.Channel
		defer func() {
			for _, ch := range channels {
				_ = ch.Close()
			}
		}()
		for left := q.Messages; left > 0; left -= maxUnacknowledged {
			ch, err := conn.Channel()
			if err != nil {
				return err
			}
			channels = append(channels, ch)
			if err := readSome(ctx, ch, queue, min(left, maxUnacknowledged), f); err != nil {
				return err
			}
		}
		return nil
	}, "read "+queue)
}

// readSome takes count messages without acknowledging any.
func readSome(ctx context.Context, ch *amqp.Channel, queue string, count int, f func(Record) error) error {
	if err := ch.Qos(count, 0, false); err != nil { // a quorum queue gives 2,000 to a consumer that sets no limit
		return err
	}
	deliveries, err := ch.ConsumeWithContext(ctx, queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	idle := time.NewTimer(readIdle)
	defer idle.Stop()
	for n := range count {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return fmt.Errorf("the connection ended after %d of %d messages", n, count)
			}
			if err := f(recordOf(&d)); err != nil {
				return err
			}
			idle.Reset(readIdle)
		case <-idle.C:
			return fmt.Errorf("%d of %d messages came; does another consumer take them?", n, count)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func recordOf(d *amqp.Delivery) Record {
	return Record{Exchange: d.Exchange, RoutingKey: d.RoutingKey, MessageID: d.MessageId, Type: d.Type, ContentType: d.ContentType, At: d.Timestamp,
		Body: d.Body, Headers: d.Headers, Redelivered: d.Redelivered}
}

// Declare makes durable quorum queues, for demonstrations and tests; those that exist as such stay as they are. Of cfg it uses how to connect.
func Declare(ctx context.Context, cfg Config, queues []string) error {
	return session(ctx, cfg, func(conn *amqp.Connection) error {
		for _, name := range queues {
			err := throwAway(conn, func(ch *amqp.Channel) error {
				_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
				return err
			})
			if err != nil {
				return fmt.Errorf("make the queue %q: %w", name, err)
			}
		}
		return nil
	}, "declare")
}

// session runs f on a connection of its own, which ends with ctx at the latest.
func session(ctx context.Context, cfg Config, f func(*amqp.Connection) error, what string) error {
	p, err := New(cfg)
	if err != nil {
		return err
	}
	defer p.Close(ctx)
	g, err := p.connect(ctx, nil)
	if err != nil {
		return fmt.Errorf("rabbitmq: %s: %w", what, err)
	}
	defer func() { _ = g.conn.CloseDeadline(time.Now().Add(closeWait)); g.end(); <-g.done }()
	stop := context.AfterFunc(ctx, g.end)
	defer stop()
	if err := f(g.conn); err != nil {
		return fmt.Errorf("rabbitmq: %s: %w", what, err)
	}
	return nil
}
