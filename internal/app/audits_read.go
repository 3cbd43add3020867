package app

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// reader reads a destination back. The error says why it cannot be: end is there whenever it is nil.
func (a *audits) reader(name string) (read laneReader, end func(), err error) {
	d := a.config.Destination(name)
	if d == nil {
		return nil, nil, errors.New("it is not configured here, so what it has stored is not verifiable")
	}
	switch d.Kind {
	case config.KindWaybillBroker:
		node := a.bundled.Load()
		if node == nil {
			return nil, nil, errors.New("the bundled broker does not run in this process, so what it has stored is not verifiable from here")
		}
		return readBundled(*node), func() {}, nil
	case config.KindKafka:
		cfg, err := kafkaConnection(d)
		if err != nil {
			return nil, nil, err
		}
		topics := &kafkaTopics{cfg: cfg}
		return topics.read, topics.close, nil
	}
	return nil, nil, fmt.Errorf("what a broker of kind %s has stored cannot be read back by offsets, so it is not verifiable", d.Kind)
}

func readBundled(b waybillbroker.Reader) laneReader {
	return func(ctx context.Context, at relay.Lane, want audit.Span, f func(*storedBack) error) (audit.Span, error) {
		first, next, err := waybillbroker.ReadRange(ctx, b, at.Topic, at.Index, want.From, want.To, func(r waybillbroker.Record) error {
			return f(&storedBack{r.Offset, r.Key, r.Value, r.Header})
		})
		return audit.Span{From: first, To: next}, err
	}
}

// kafkaTopics reads topics of a cluster, one after the other.
type kafkaTopics struct {
	cfg       kafka.Config
	topic     string
	r         *kafka.Reader // of topic; nil = none yet
	compacted bool
}

func (k *kafkaTopics) close() {
	if k.r != nil {
		k.r.Close()
	}
}

func (k *kafkaTopics) open(ctx context.Context, topic string) (err error) {
	if k.r != nil && k.topic == topic {
		return nil
	}
	k.close()
	k.topic, k.r = topic, k.cfg.NewReader(topic)
	k.compacted, err = k.r.Compacted(ctx)
	return err
}

func (k *kafkaTopics) read(ctx context.Context, at relay.Lane, want audit.Span, f func(*storedBack) error) (audit.Span, error) {
	if err := k.open(ctx, at.Topic); err != nil {
		return audit.Span{}, err
	}
	if k.compacted { // what is missing there need not be lost
		return audit.Span{}, errors.New("its cleanup.policy lets newer records take the place of older ones, so what was stored is not verifiable")
	}
	first, next, err := k.r.Range(ctx, at.Index, want.From, want.To, func(r kafka.Record) error {
		return f(&storedBack{r.Offset, r.Key, r.Value, r.Header})
	})
	return audit.Span{From: first, To: next}, err
}

// parseLane reads a lane as receipts have it.
func parseLane(s string) (relay.Lane, error) {
	i := strings.LastIndexByte(s, '/')
	n, err := strconv.ParseInt(s[i+1:], 10, 32)
	if err != nil || i < 1 {
		return relay.Lane{}, fmt.Errorf("%q is no lane of a topic", s)
	}
	return relay.Lane{Topic: s[:i], Index: int32(n)}, nil
}
