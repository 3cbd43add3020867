package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	amqp "github.com/rabbitmq/amqp091-go"
)

// nativeBatch is how many messages of a lane are out at once: a RocketMQ batch, a window of RabbitMQ. The relay's are as large.
const nativeBatch = 200

// prepareNative makes the loop ready that a client library's documentation leads to when it is to be fast: without a database, without order.
func prepareNative(_ context.Context, j *job) (*task, error) {
	if len(j.Queue.NameServers) > 0 {
		return nativeRocketMQ(j)
	}
	return nativeRabbitMQ(j)
}

// overLanes times a function for each lane.
func overLanes(do func(lane int) error) func(context.Context) (time.Duration, error) {
	return func(context.Context) (time.Duration, error) {
		began := time.Now()
		errs := make([]error, queueLanes)
		var lanes sync.WaitGroup
		for lane := range queueLanes {
			lanes.Go(func() { errs[lane] = do(lane) })
		}
		lanes.Wait()
		return time.Since(began), errors.Join(errs...)
	}
}

func nativeKey(id int64) string { return fmt.Sprintf("k%0*d", keyDigits, id*7919%keyCount) }

func nothing() error { return nil }

// nativeRocketMQ sends batches, one at a time into each queue.
func nativeRocketMQ(j *job) (*task, error) {
	rlog.SetLogLevel("error")
	p, err := producer.NewDefaultProducer(producer.WithNsResolver(primitive.NewPassthroughResolver(j.Queue.NameServers)), producer.WithInstanceName("waybill-bench"),
		producer.WithGroupName("waybill_bench_native"), producer.WithRetry(0), producer.WithQueueSelector(nextQueue{}))
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		return nil, err
	}
	send := func(lane int) error {
		payload := make([]byte, payloadBytes)
		for id := int64(lane) + 1; id <= j.Rows; {
			batch := make([]*primitive.Message, 0, nativeBatch)
			for ; id <= j.Rows && len(batch) < nativeBatch; id += queueLanes {
				m := primitive.NewMessage(j.Topic, payload)
				m.WithShardingKey(nativeKey(id))
				m.WithTag("OrderPaid")
				m.WithKeys([]string{strconv.FormatInt(id, 10)})
				m.WithProperty(headerSeq, strconv.FormatInt(id, 10))
				m.Queue = &primitive.MessageQueue{QueueId: lane}
				batch = append(batch, m)
			}
			r, err := p.SendSync(context.Background(), batch...)
			for try := 0; err != nil && strings.Contains(err.Error(), "route info not found") && try < 100; try++ { // it asks once, the other lanes are told so
				pause(context.Background(), 10*time.Millisecond)
				r, err = p.SendSync(context.Background(), batch...)
			}
			if err != nil {
				return fmt.Errorf("send: %w", err)
			}
			if r.Status != primitive.SendOK {
				return fmt.Errorf("send: the broker answered with status %d", r.Status)
			}
		}
		return nil
	}
	return &task{run: overLanes(send), check: nothing, close: p.Shutdown}, nil
}

// nextQueue takes the queue with the id that a message names.
type nextQueue struct{}

func (nextQueue) Select(m *primitive.Message, queues []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	for _, q := range queues {
		if q.QueueId == m.Queue.QueueId {
			return q
		}
	}
	return nil
}

// nativeRabbitMQ publishes with confirms, a sliding window in each channel.
func nativeRabbitMQ(j *job) (*task, error) {
	conn, err := amqp.Dial("amqp://guest:guest@" + j.Queue.Host + "/")
	if err != nil {
		return nil, err
	}
	var channels [queueLanes]*amqp.Channel
	for i := range channels {
		if channels[i], err = conn.Channel(); err == nil {
			err = channels[i].Confirm(false)
		}
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	send := func(lane int) error {
		payload := make([]byte, payloadBytes)
		var open []*amqp.DeferredConfirmation
		for id := int64(lane) + 1; id <= j.Rows || len(open) > 0; id += queueLanes {
			if len(open) == nativeBatch || id > j.Rows {
				if !open[0].Wait() {
					return errors.New("a message was refused")
				}
				open = open[1:]
			}
			if id > j.Rows {
				continue
			}
			text := strconv.FormatInt(id, 10)
			c, err := channels[lane].PublishWithDeferredConfirm("", j.Topic, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: text,
				Type: "OrderPaid", Headers: amqp.Table{headerSeq: text, "waybill-key": nativeKey(id)}, Body: payload})
			if err != nil {
				return err
			}
			open = append(open, c)
		}
		return nil
	}
	return &task{run: overLanes(send), check: nothing, close: conn.Close}, nil
}

// remove deletes the queue of a run: a broker that holds every run's messages in memory would stop taking more. A topic of RocketMQ stays: its files do not grow
// with topics.
func (q *queueServer) remove(topic string) error {
	if len(q.NameServers) > 0 {
		return nil
	}
	conn, err := amqp.Dial("amqp://guest:guest@" + q.Host + "/")
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	_, err = ch.QueueDelete(topic, false, false, false)
	return err
}
