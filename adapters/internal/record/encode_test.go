package record

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/relay"
)

var sendTime = time.UnixMilli(1_700_000_000_123)

// session is what Finish is told.
type session struct {
	pid   int64
	epoch int16
	next  int32
}

func encodeAll(e *Encoder, buf []byte, s session, msgs []*relay.Message) []byte {
	buf = e.Begin(buf)
	for i, m := range msgs {
		buf = e.Add(buf, i, m)
	}
	e.Finish(buf, len(msgs), sendTime, Producer{s.pid, s.epoch}, s.next)
	return buf
}

// decodeBatch reads a batch with franz-go's reader and checks every field of the head.
func decodeBatch(t testing.TB, buf []byte, s session) []kmsg.Record {
	t.Helper()
	if got := int(binary.BigEndian.Uint32(buf)); got != len(buf)-SizePrefix {
		t.Fatalf("the size prefix says %d of %d bytes", got, len(buf)-SizePrefix)
	}
	raw := buf[SizePrefix:]
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		t.Fatalf("not a batch: %v", err)
	}
	if int(b.Length) != len(raw)-12 || b.PartitionLeaderEpoch != -1 || b.Magic != 2 || b.Attributes != 0 || b.FirstOffset != 0 {
		t.Fatalf("head: %+v", b)
	}
	if crc := crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)); uint32(b.CRC) != crc {
		t.Fatalf("CRC %x, want %x", uint32(b.CRC), crc)
	}
	if b.ProducerID != s.pid || b.ProducerEpoch != s.epoch || b.FirstSequence != s.next || b.LastOffsetDelta != b.NumRecords-1 {
		t.Fatalf("session: %+v", b)
	}
	if b.FirstTimestamp != sendTime.UnixMilli() || b.MaxTimestamp != sendTime.UnixMilli() {
		t.Fatalf("timestamps: %d, %d", b.FirstTimestamp, b.MaxTimestamp)
	}
	rest := b.Records
	var recs []kmsg.Record
	for i := int32(0); i < b.NumRecords; i++ {
		size, n := binary.Varint(rest)
		if n <= 0 || size < 0 || int(size)+n > len(rest) {
			t.Fatalf("record %d: length %d of %d bytes", i, size, len(rest))
		}
		var r kmsg.Record
		if err := r.ReadFrom(rest[:n+int(size)]); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if r.OffsetDelta != i || r.TimestampDelta64 != 0 {
			t.Fatalf("record %d: %+v", i, r)
		}
		recs = append(recs, r)
		rest = rest[n+int(size):]
	}
	if len(rest) != 0 {
		t.Fatalf("%d bytes behind the last record", len(rest))
	}
	return recs
}

// wantHeaders is the mapping, written down a second time.
func wantHeaders(m *relay.Message) [][2]string {
	h := [][2]string{{"waybill-id", m.MessageID}, {"waybill-seq", strconv.FormatInt(int64(m.ID), 10)}}
	if m.Type != "" {
		h = append(h, [2]string{"waybill-type", m.Type})
	}
	if m.ContentType != "" {
		h = append(h, [2]string{"content-type", m.ContentType})
	}
	h = append(h, [2]string{"waybill-time", m.CreatedAt.UTC().Format("2006-01-02T15:04:05.000000Z")})
	for _, u := range m.Headers {
		h = append(h, [2]string{u.Name, u.Value})
	}
	if m.Traceparent != "" {
		h = append(h, [2]string{"traceparent", m.Traceparent})
	}
	if m.Tracestate != "" {
		h = append(h, [2]string{"tracestate", m.Tracestate})
	}
	return h
}

func compareRecord(t testing.TB, m *relay.Message, key, value []byte, headers [][2]string) {
	t.Helper()
	if (key == nil) != (m.Key == "") || string(key) != m.Key {
		t.Fatalf("message %d: key %q (null %v), want %q", m.ID, key, key == nil, m.Key)
	}
	if (value == nil) != m.Tombstone || !bytes.Equal(value, m.Payload) {
		t.Fatalf("message %d: value of %d bytes (null %v), want %d (null %v)", m.ID, len(value), value == nil, len(m.Payload), m.Tombstone)
	}
	want := wantHeaders(m)
	if len(want) != len(headers) {
		t.Fatalf("message %d: headers %q, want %q", m.ID, headers, want)
	}
	for i := range want {
		if want[i] != headers[i] {
			t.Fatalf("message %d: header %d is %q, want %q", m.ID, i, headers[i], want[i])
		}
	}
}

func headersOf(r kmsg.Record) (h [][2]string) {
	for _, x := range r.Headers {
		h = append(h, [2]string{x.Key, string(x.Value)})
	}
	return h
}

func TestEncodeReadsBack(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8_009_999, time.FixedZone("x", 7200))
	msgs := []*relay.Message{
		{ID: 1, MessageID: "a-1", CreatedAt: at, Payload: []byte("one"), Key: "k"},
		{ID: 2, MessageID: "a-2", CreatedAt: at, Tombstone: true, Key: "k"},
		{ID: 3, MessageID: "a-3", CreatedAt: at.Add(time.Microsecond), Payload: []byte{}, Type: "order.paid", ContentType: "application/json"},
		{ID: math.MaxInt64, MessageID: "", CreatedAt: time.Time{}, Payload: bytes.Repeat([]byte{0}, 70_000), Key: "\x00\xff",
			Headers: []relay.Header{{Name: "", Value: ""}, {Name: "ünï", Value: "\x00\x01"}}, Traceparent: "00-1-2-01", Tracestate: "v=1"},
		{ID: 5, CreatedAt: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC), Payload: []byte("far")},
	}
	s := session{pid: 1 << 40, epoch: 7, next: math.MaxInt32 - 1}
	buf := encodeAll(&Encoder{}, nil, s, msgs)
	recs := decodeBatch(t, buf, s)
	for i, m := range msgs {
		compareRecord(t, m, recs[i].Key, recs[i].Value, headersOf(recs[i]))
	}
	again := encodeAll(&Encoder{}, nil, s, msgs)
	if !bytes.Equal(buf, again) {
		t.Error("a second encoding differs")
	}
}

// TestEncodeGolden pins the format: brokers have batches of it on disk.
func TestEncodeGolden(t *testing.T) {
	m := &relay.Message{ID: 42, MessageID: "u-42", Key: "k", Type: "t", CreatedAt: time.Unix(1_700_000_000, 123_456_000), Payload: []byte("hi"),
		Headers: []relay.Header{{Name: "h", Value: "v"}}}
	s := session{pid: 9, epoch: 1, next: 3}
	buf := encodeAll(&Encoder{}, nil, s, []*relay.Message{m})
	const want = "000000a3" + // size of the record set
		"0000000000000000" + "00000097" + "ffffffff" + "02" + "5dd9176c" + // base offset, length, leader epoch, magic, CRC
		"0000" + "00000000" + "0000018bcfe5687b" + "0000018bcfe5687b" + "0000000000000009" + "0001" + "00000003" + "00000001" +
		"c801" + "00" + "00" + "00" + "026b" + "046869" + "0a" + // length, attributes, deltas, key, value, five headers
		"1477617962696c6c2d6964" + "08752d3432" + "1677617962696c6c2d736571" + "043432" + "1877617962696c6c2d74797065" + "0274" +
		"1877617962696c6c2d74696d65" + "36323032332d31312d31345432323a31333a32302e3132333435365a" + "0268" + "0276"
	if got := hex.EncodeToString(buf); got != want {
		t.Errorf("the bytes changed:\n%s\nwant\n%s", got, want)
	}
	decodeBatch(t, buf, s)
}

func TestVarintSize(t *testing.T) {
	for shift := range 63 {
		for _, d := range []int64{-1, 0, 1} {
			for _, v := range []int64{int64(1)<<shift + d, -(int64(1) << shift) + d} {
				if got, want := varintSize(v), len(binary.AppendVarint(nil, v)); got != want {
					t.Fatalf("varintSize(%d) = %d, want %d", v, got, want)
				}
				if !bytes.Equal(appendVarint(nil, v), binary.AppendVarint(nil, v)) {
					t.Fatalf("appendVarint(%d)", v)
				}
			}
		}
	}
}

func FuzzEncode(f *testing.F) {
	f.Add(uint64(1), 3, []byte("payload"), "key", "name", "value", "type", int64(0))
	f.Add(uint64(2), 1, []byte(nil), "", "", "", "", int64(1<<40))
	f.Fuzz(func(t *testing.T, seed uint64, count int, payload []byte, key, name, value, typ string, at int64) {
		r := rand.New(rand.NewPCG(seed, 0))
		count = 1 + (count&0x7fffffff)%40
		var msgs []*relay.Message
		for i := range count {
			m := &relay.Message{ID: relay.ID(r.Int64()), MessageID: name, CreatedAt: time.UnixMicro(at%(1<<56) + int64(i)), Payload: payload, Key: key, Type: typ}
			if r.IntN(4) == 0 {
				m.Payload, m.Tombstone = nil, true
			} else if m.Payload == nil {
				m.Payload = []byte{}
			}
			for range r.IntN(4) {
				m.Headers = append(m.Headers, relay.Header{Name: name, Value: value})
			}
			msgs = append(msgs, m)
		}
		s := session{pid: r.Int64(), epoch: int16(r.Uint32()), next: int32(r.Uint32() >> 1)}
		for i, rec := range decodeBatch(t, encodeAll(&Encoder{}, nil, s, msgs), s) {
			compareRecord(t, msgs[i], rec.Key, rec.Value, headersOf(rec))
		}
	})
}

func kibibyte(n int) []*relay.Message {
	msgs := make([]*relay.Message, n)
	for i := range msgs {
		msgs[i] = &relay.Message{ID: relay.ID(i + 1), MessageID: "8c0b7e5e-6a3f-4e0e-9f0e-0d8d1c9a1b2c-" + strconv.Itoa(i), Topic: "bench", Target: "bench", Key: "key-" + strconv.Itoa(i%1000),
			Type: "order.paid", CreatedAt: time.Unix(1_700_000_000, int64(i)*1000), Payload: bytes.Repeat([]byte("x"), 1024), Size: 1024,
			Headers: []relay.Header{{Name: "tenant", Value: "t-1"}, {Name: "region", Value: "eu"}}}
	}
	return msgs
}

func TestEncodeAllocatesNothing(t *testing.T) {
	msgs := kibibyte(500)
	e := &Encoder{}
	buf := encodeAll(e, nil, session{}, msgs)
	if n := testing.AllocsPerRun(20, func() { buf = encodeAll(e, buf, session{}, msgs) }); n > 2 {
		t.Errorf("%v allocations for 500 messages into a reused buffer", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	msgs := kibibyte(500)
	e := &Encoder{}
	var buf []byte
	b.SetBytes(500 * 1024)
	for b.Loop() {
		buf = encodeAll(e, buf, session{}, msgs)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/msg")
}
