package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// batch encodes a record batch with one value each.
func batch(values ...string) []byte {
	b := make([]byte, batchHeader)
	for i, v := range values {
		r := append(binary.AppendVarint([]byte{0, 0}, int64(i)), 1) // attributes, time, offset, null key
		r = append(binary.AppendVarint(r, int64(len(v))), v...)
		r = append(r, 0) // no headers
		b = append(binary.AppendVarint(b, int64(len(r))), r...)
	}
	be := binary.BigEndian
	b[batchMagicAt] = 2
	be.PutUint32(b[batchDeltaAt:], uint32(len(values)-1))
	be.PutUint64(b[43:], ^uint64(0))
	be.PutUint32(b[batchCountAt:], uint32(len(values)))
	return sealed(b)
}

// sealed sets the length and the crc of a batch.
func sealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func bent(change func([]byte)) []byte {
	b := batch("value")
	change(b)
	return sealed(b)
}

func produceOf(version, acks int16, topic string, batches ...[]byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, acks, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	for _, b := range batches {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Records = b
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func fetchOf(topic string, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 12, 0, 1, 1<<20
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes = offset, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// idempotent is a batch of a producer, from a sequence number on.
func idempotent(id int64, epoch int16, sequence int32) []byte {
	return bent(func(b []byte) {
		be := binary.BigEndian
		be.PutUint64(b[43:], uint64(id))
		be.PutUint16(b[51:], uint16(epoch))
		be.PutUint32(b[53:], uint32(sequence))
	})
}

func TestProduceIsRefused(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 1)
	r := p.dial(t)
	transactional := produceOf(9, -1, "orders", batch("v"))
	transactional.TransactionID = kmsg.StringPtr("tx")
	other := produceOf(9, -1, "orders", batch("v"))
	other.Topics[0].Partitions[0].Partition = 1
	attributes := func(a uint16) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint16(b[batchAttributes:], a) }
	}
	wrongSum := batch("v")
	wrongSum[17]++
	for _, c := range []struct {
		what string
		req  *kmsg.ProduceRequest
		code int16
	}{
		{"a batch", produceOf(9, -1, "orders", batch("a", "b")), codeNone},
		{"acks of one", produceOf(3, 1, "orders", batch("c")), codeNone},
		{"an unknown topic", produceOf(9, -1, "typo", batch("v")), codeUnknownTopicOrPartition},
		{"an unknown partition", other, codeUnknownTopicOrPartition},
		{"acks of two", produceOf(9, 2, "orders", batch("v")), codeInvalidRequiredAcks},
		{"a version before batches", produceOf(2, -1, "orders", batch("v")), codeUnsupportedVersion},
		{"a transaction", transactional, codeInvalidRequest},
		{"nothing", produceOf(9, -1, "orders", nil), codeCorruptMessage},
		{"half a header", produceOf(9, -1, "orders", batch("v")[:40]), codeCorruptMessage},
		{"a cut batch", produceOf(9, -1, "orders", batch("v")[:62]), codeCorruptMessage},
		{"a wrong crc", produceOf(9, -1, "orders", wrongSum), codeCorruptMessage},
		{"magic 1", produceOf(9, -1, "orders", bent(func(b []byte) { b[batchMagicAt] = 1 })), codeCorruptMessage},
		{"two batches", produceOf(9, -1, "orders", append(batch("v"), batch("w")...)), codeInvalidRecord},
		{"a wrong count", produceOf(9, -1, "orders", bent(func(b []byte) { b[batchCountAt+3] = 9 })), codeInvalidRecord},
		{"a control batch", produceOf(9, -1, "orders", bent(attributes(0x20))), codeInvalidRecord},
		{"zstd of an old client", produceOf(6, -1, "orders", bent(attributes(4))), codeUnsupportedCompression},
		{"an unknown codec", produceOf(9, -1, "orders", bent(attributes(5))), codeUnsupportedCompression},
		{"too large a batch", produceOf(9, -1, "orders", batch(string(make([]byte, 1<<20)))), codeMessageTooLarge},
		{"the first of a producer", produceOf(9, -1, "orders", idempotent(7, 0, 0)), codeNone},
		{"the same again", produceOf(9, -1, "orders", idempotent(7, 0, 0)), codeNone},
		{"one behind a gap", produceOf(9, -1, "orders", idempotent(7, 0, 2)), codeOutOfOrderSequence},
		{"the next, of a newer instance", produceOf(9, -1, "orders", idempotent(7, 1, 0)), codeNone},
		{"one of the instance before", produceOf(9, -1, "orders", idempotent(7, 0, 1)), codeInvalidProducerEpoch},
	} {
		resp := ask[*kmsg.ProduceResponse](r, c.req)
		got := resp.Topics[0].Partitions[0]
		if got.ErrorCode != c.code || (got.BaseOffset >= 0) != (c.code == codeNone) || c.req.Version >= 2 && got.LogAppendTime != -1 {
			t.Errorf("%s: %+v, want code %d", c.what, got, c.code)
		}
	}
	start, high, err := p.Bounds("orders", 0)
	if err != nil || start != 0 || high != 5 { // a, b, c and two of the producer
		t.Errorf("%d to %d, %v", start, high, err)
	}
	if why := p.why(); why != nil {
		t.Errorf("closed: %v", why)
	}
}

// Twice the same partition in a request is stored in its order, and a partition that is refused costs the others nothing.
func TestProduceManyBatches(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 2)
	r := p.dial(t)
	req := produceOf(9, -1, "orders", batch("a"), batch("b"), nil, batch("c"))
	req.Topics[0].Partitions[1].Partition = 1
	resp := ask[*kmsg.ProduceResponse](r, req)
	want := []struct {
		code   int16
		offset int64
	}{{codeNone, 0}, {codeNone, 0}, {codeCorruptMessage, -1}, {codeNone, 1}}
	for i, a := range resp.Topics[0].Partitions {
		if a.ErrorCode != want[i].code || a.BaseOffset != want[i].offset {
			t.Errorf("%d: %+v", i, a)
		}
	}
}

// Without acks there is no answer, and an error can only end the connection.
func TestProduceWithoutAcks(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	create(t, p, "orders", 1)
	r := p.dial(t)
	r.send(produceOf(9, 0, "orders", batch("a")))
	if got := ask[*kmsg.ListOffsetsResponse](r, offsetsOf("orders", timeLatest)); got.Topics[0].Partitions[0].Offset != 1 {
		t.Errorf("%+v", got)
	}
	r.send(produceOf(9, 0, "typo", batch("a")))
	r.ended()
	if why := p.why(); len(why) != 1 {
		t.Errorf("%v", why)
	}
}
