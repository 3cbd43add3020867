package kafka

import (
	"context"
	"fmt"
	"strings"

	"github.com/waybillmq/waybill/internal/broker"
)

// hiddenPrefix begins the names of topics that are the port's own.
const hiddenPrefix = "__waybill_"

// visible is a log without the port's own topics: for clients they do not exist.
type visible struct{ Log }

func hidden(name string) bool { return strings.HasPrefix(name, hiddenPrefix) }

func refused(name string) error { return fmt.Errorf("topic %q: %w", name, broker.ErrUnknownTopic) }

func (v visible) Topics() (list []broker.Topic) {
	for _, t := range v.Log.Topics() {
		if !hidden(t.Name) {
			list = append(list, t)
		}
	}
	return list
}

func (v visible) Topic(name string) (broker.Topic, bool) {
	if hidden(name) {
		return broker.Topic{}, false
	}
	return v.Log.Topic(name)
}

func (v visible) CreateTopic(ctx context.Context, t broker.Topic) error {
	if hidden(t.Name) {
		return fmt.Errorf("create topic %q: names that begin with %s are the broker's own: %w", t.Name, hiddenPrefix, errReserved)
	}
	return v.Log.CreateTopic(ctx, t)
}

func (v visible) DeleteTopic(ctx context.Context, name string) error {
	if hidden(name) {
		return refused(name)
	}
	return v.Log.DeleteTopic(ctx, name)
}

func (v visible) Append(ctx context.Context, topic string, partition int32, batch []byte) (broker.Ack, error) {
	if hidden(topic) {
		return broker.Ack{}, refused(topic)
	}
	return v.Log.Append(ctx, topic, partition, batch)
}

func (v visible) Bounds(topic string, partition int32) (start, high int64, err error) {
	if hidden(topic) {
		return 0, 0, refused(topic)
	}
	return v.Log.Bounds(topic, partition)
}

func (v visible) Read(ctx context.Context, topic string, partition int32, from int64, maxBytes int) ([]broker.StoredBatch, error) {
	if hidden(topic) {
		return nil, refused(topic)
	}
	return v.Log.Read(ctx, topic, partition, from, maxBytes)
}

func (v visible) Wait(ctx context.Context, points ...broker.Point) error {
	for _, p := range points {
		if hidden(p.Topic) {
			return refused(p.Topic)
		}
	}
	return v.Log.Wait(ctx, points...)
}
