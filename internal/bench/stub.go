package bench

import (
	"context"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// stubLanes is how many lanes the stub has.
const stubLanes = 8

// stub is a destination that acks everything, after a fixed time. What a real one does to a message is what it leaves out: its rate is that of everything
// before and after the broker.
type stub struct {
	ack     time.Duration // 0 = at once
	poison  int64         // refuses ids that are a multiple of it; 0 = none
	witness *witness
	offsets [stubLanes]int64 // owned by the lane's batch in flight
}

// stubLimits are the Kafka adapter's.
var stubLimits = relay.Capabilities{Atomic: true, Dedupes: true, Fences: true, Positions: true, Tombstone: true, MaxBatch: 500, MaxBytes: 900 << 10}

func (s *stub) Open(context.Context, relay.Epoch) error { return nil }

func (s *stub) Lane(m *relay.Message) relay.Lane {
	k, _ := keyIndex(m.Key)
	return relay.Lane{Topic: m.Target, Index: int32(k % stubLanes)}
}

func (s *stub) Publish(ctx context.Context, lane relay.Lane, batch []*relay.Message) []relay.Outcome {
	outcomes := make([]relay.Outcome, len(batch))
	if s.ack > 0 && !pause(ctx, s.ack) {
		return outcomes // unknown
	}
	for i, m := range batch {
		if s.poison > 0 && int64(m.ID)%s.poison == 0 {
			outcomes[i] = relay.Outcome{Kind: relay.Rejected, Class: relay.ClassInvalid, Code: "bench/POISON", Detail: "refused by the bench"}
			continue
		}
		s.witness.saw(int64(m.ID), m.Key)
		outcomes[i] = relay.Outcome{Kind: relay.Acked, At: relay.Position{Offset: s.offsets[lane.Index], HasOffset: true}}
		s.offsets[lane.Index]++
	}
	return outcomes
}

func (s *stub) Check(context.Context) (relay.Findings, error) { return relay.Findings{}, nil }

func (s *stub) Close(context.Context) error { return nil }

// pause waits; false = ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
