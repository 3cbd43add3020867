package waybillbroker

import (
	"context"
	"errors"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/relay"
)

// Broker is what the adapter needs of the bundled broker; *broker.Node is one. It keeps no slice after a call.
type Broker interface {
	Ready(ctx context.Context) error
	Cluster() string
	Topic(name string) (broker.Topic, bool)
	Topics() []broker.Topic
	Fence(ctx context.Context, id broker.SourceID, epoch uint64) error
	SourceState(ctx context.Context, id broker.SourceID, epoch uint64, topic string, partition int32) (broker.CursorState, error)
	AppendFrom(ctx context.Context, s broker.Source, topic string, partition int32, batch []byte, ids []int64, sums []uint32, replay bool) (broker.Ack, error)
}

// Config says which broker, and what the outbox knows of the past.
type Config struct {
	Broker Broker
	// Unsettled returns those of ids that the outbox has not marked sent: pending or held. It is asked after the outbox was acquired.
	Unsettled func(ctx context.Context, ids []relay.ID) ([]relay.ID, error)
	// LanesChanged is called when a topic that was missing exists now. It must not block; nil = nobody is told.
	LanesChanged func()
}

// Capabilities are the same for every bundled broker.
func Capabilities() relay.Capabilities {
	return relay.Capabilities{Atomic: true, Dedupes: true, Fences: true, Positions: true, Tombstone: true, MaxBatch: 500, MaxBytes: 900 << 10}
}

// Validate reports what is missing.
func (c Config) Validate() error {
	if c.Broker == nil || c.Unsettled == nil {
		return errors.New("waybillbroker: a broker and a way to ask the outbox are needed")
	}
	return nil
}
