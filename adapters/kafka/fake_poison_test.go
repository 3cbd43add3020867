package kafka

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/relay"
)

// recordsOf gives the payloads of a partition's batch.
func recordsOf(t testing.TB, raw []byte) (values []string) {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		t.Error(err)
	}
	for rest := b.Records; len(rest) > 0; {
		size, n := binary.Varint(rest)
		var r kmsg.Record
		if err := r.ReadFrom(rest[:n+int(size)]); err != nil {
			t.Error(err)
			return values
		}
		values = append(values, string(r.Value))
		rest = rest[n+int(size):]
	}
	return values
}

// refusePoison makes the broker refuse batches that hold the payload "poison": by index, or as a whole.
func refusePoison(t testing.TB, c *kfake.Cluster, code int16, byIndex bool) {
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.ProduceRequest)
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		bad := false
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic = rt.Topic
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition = rp.Partition
				for i, v := range recordsOf(t, rp.Records) {
					if v != "poison" {
						continue
					}
					sp.ErrorCode, bad = code, true
					if byIndex {
						e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
						e.RelativeOffset = int32(i)
						text := "no key"
						e.ErrorMessage = &text
						sp.ErrorRecords = append(sp.ErrorRecords, e)
					}
				}
				st.Partitions = append(st.Partitions, sp)
			}
			res.Topics = append(res.Topics, st)
		}
		if bad {
			c.KeepControl()
			return res, nil, true
		}
		return nil, nil, false
	})
}

// TestPoison: one message of a hundred is refused; the others are stored in order, but nothing of its key behind it.
func TestPoison(t *testing.T) {
	for _, code := range []int16{10, 18, 43, 87} {
		for _, byIndex := range []bool{false, true} {
			for _, at := range []int{0, 1, 50, 99} {
				t.Run(fmt.Sprintf("code %d index %v at %d", code, byIndex, at), func(t *testing.T) {
					c := fake(t, kfake.SeedTopics(1, "t"))
					refusePoison(t, c, code, byIndex)
					p := open(t, c.ListenAddrs(), nil)
					batch := ids("t", "", span(1, 100)...)
					batch[at].Payload = []byte("poison")
					for i := range batch {
						batch[i].Key = fmt.Sprintf("k%d", i)
					}
					keyed := (at + 7) % 100
					batch[keyed].Key = batch[at].Key
					var stored []int
					out := publish(t, p, batch)
					for i, o := range out {
						switch {
						case i == at:
							if o.Kind != relay.Rejected || o.Detail == "" {
								t.Errorf("the culprit: %+v", o)
							}
						case i == keyed && keyed > at:
							if o.Kind != relay.Unavailable || o.Scope != relay.ScopeKey {
								t.Errorf("behind the culprit: %+v", o)
							}
						case o.Kind != relay.Acked:
							t.Errorf("message %d: %+v", i, o)
						default:
							stored = append(stored, i+1)
						}
					}
					wantStored(t, c.ListenAddrs(), "t", stored...)
					wantOffsets(t, c.ListenAddrs(), batch, out, relay.Lane{Topic: "t"})
					if n := p.Counters().SessionsLapsed; n != 0 {
						t.Errorf("%d sessions lapsed after definite refusals", n)
					}
				})
			}
		}
	}
}

// TestTwoPoisonsByBisection: halving finds several culprits.
func TestTwoPoisonsByBisection(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "t"))
	refusePoison(t, c, 87, false)
	p := open(t, c.ListenAddrs(), nil)
	batch := ids("t", "", span(1, 500)...)
	batch[17].Payload, batch[18].Payload, batch[499].Payload = []byte("poison"), []byte("poison"), []byte("poison")
	want(t, publish(t, p, batch), "acked 17 rejected 2 acked 480 rejected 1")
	wantStored(t, c.ListenAddrs(), "t", append(span(1, 17), span(20, 499)...)...)
}
