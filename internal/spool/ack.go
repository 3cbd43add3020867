package spool

import (
	"encoding/binary"
	"math"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/relay"
)

const flagOffset uint8 = 1 // the ack tells an offset

// ack is a record of kind 33 taken apart.
type ack struct {
	lane       relay.CacheLane
	generation uuid
	relay.CachedAck
}

// record encodes an ack. Index is the id, Term the epoch.
//
//	 0 crc u32 | 4 offset i64
//	12 uuid of the generation, 16 bytes
//	28 acked at: s i64, ns u32
//	40 lane: index i32, destination, topic
func (a *ack) record() commitlog.Record {
	r := commitlog.Record{Kind: kindAck, Index: uint64(a.ID), Term: uint64(a.Epoch)}
	if a.At.HasOffset {
		r.Flags = flagOffset
	}
	b := make([]byte, 4, 64+len(a.lane.Destination)+len(a.lane.Lane.Topic))
	b = le.AppendUint64(b, uint64(a.At.Offset))
	b = append(b, a.generation[:]...)
	r.Body = appendLane(appendTime(b, a.AckedAt), a.lane)
	return seal(r)
}

func readAck(r *commitlog.Record) (a ack, err error) {
	var ok bool
	if a.ID, ok = id(r); !ok || r.Kind != kindAck || r.Flags > flagOffset || !whole(r) {
		return ack{}, errRecord
	}
	in := reader{b: r.Body[4:]}
	a.Epoch, a.At = relay.Epoch(r.Term), relay.Position{Offset: in.i64(), HasOffset: r.Flags == flagOffset}
	a.generation, a.AckedAt, a.lane = in.uuid(), in.time(), in.lane()
	if in.failed || len(in.b) > 0 {
		return ack{}, errRecord
	}
	return a, nil
}

// forgetRecords encodes ids of a lane, ascending, that are forgotten, in records of at most maxForget ids. Index is the first id, Term the number of ids.
//
//	0 crc u32
//	4 lane: index i32, destination, topic
//	  for each id but the first: how much higher than the one before, uvarint
func forgetRecords(lane relay.CacheLane, ids []relay.ID) (list []commitlog.Record) {
	for len(ids) > 0 {
		n := min(len(ids), maxForget)
		b := appendLane(make([]byte, 4, 32+2*n), lane)
		for i := 1; i < n; i++ {
			b = binary.AppendUvarint(b, uint64(ids[i]-ids[i-1]))
		}
		list = append(list, seal(commitlog.Record{Kind: kindForget, Index: uint64(ids[0]), Term: uint64(n), Body: b}))
		ids = ids[n:]
	}
	return list
}

const maxForget = 4096

func readForget(r *commitlog.Record) (lane relay.CacheLane, ids []relay.ID, err error) {
	first, ok := id(r)
	if !ok || r.Kind != kindForget || r.Flags != 0 || r.Term == 0 || r.Term > maxForget || !whole(r) {
		return lane, nil, errRecord
	}
	in := reader{b: r.Body[4:]}
	lane = in.lane()
	ids = append(ids, first)
	for i := range int(r.Term) - 1 {
		step := in.number()
		if step == 0 || step > uint64(math.MaxInt64-ids[i]) {
			return lane, nil, errRecord
		}
		ids = append(ids, ids[i]+relay.ID(step))
	}
	if in.failed || len(in.b) > 0 {
		return lane, nil, errRecord
	}
	return lane, ids, nil
}
