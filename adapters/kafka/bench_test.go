package kafka

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybillmq/waybill/relay"
)

// instant is a broker that stores nothing and answers at once, so that a benchmark measures the client.
type instant struct {
	listener net.Listener
	lanes    int
	tasks    sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
}

func newInstant(b *testing.B, lanes int) *instant {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &instant{listener: l, lanes: lanes}
	s.tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.tasks.Go(func() { s.serve(c) })
		}
	})
	b.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.tasks.Wait()
	})
	return s
}

func (s *instant) addr() string { return s.listener.Addr().String() }

func (s *instant) serve(c net.Conn) {
	r := bufio.NewReaderSize(c, 1<<16)
	var frame []byte
	for {
		var size [4]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if cap(frame) < n {
			frame = make([]byte, n)
		}
		frame = frame[:n]
		if _, err := io.ReadFull(r, frame); err != nil {
			return
		}
		out := make([]byte, 8, 256)
		copy(out[4:], frame[4:8])
		out = s.answer(frame, out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func (s *instant) answer(frame, out []byte) []byte {
	key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	body := frame[10+int(binary.BigEndian.Uint16(frame[8:])):]
	switch kmsg.Key(key) {
	case kmsg.ApiVersions:
		res := kmsg.NewPtrApiVersionsResponse()
		for k, v := range map[kmsg.Key]int16{kmsg.Produce: 8, kmsg.Metadata: 8, kmsg.ApiVersions: 0, kmsg.InitProducerID: 1} {
			a := kmsg.NewApiVersionsResponseApiKey()
			a.ApiKey, a.MaxVersion = int16(k), v
			res.ApiKeys = append(res.ApiKeys, a)
		}
		res.Version = version
		return res.AppendTo(out)
	case kmsg.Metadata:
		return s.metadata(version, out)
	case kmsg.InitProducerID:
		res := kmsg.NewPtrInitProducerIDResponse()
		res.Version, res.ProducerID = version, 7
		return res.AppendTo(out)
	case kmsg.DescribeConfigs:
		return kmsg.NewPtrDescribeConfigsResponse().AppendTo(out)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version = version
	if err := req.UnsafeReadFrom(body); err != nil {
		panic(err)
	}
	res := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		st := kmsg.NewProduceResponseTopic()
		st.Topic = t.Topic
		for _, p := range t.Partitions {
			sp := kmsg.NewProduceResponseTopicPartition()
			sp.Partition = p.Partition
			st.Partitions = append(st.Partitions, sp)
		}
		res.Topics = append(res.Topics, st)
	}
	return res.AppendTo(out)
}

func (s *instant) metadata(version int16, out []byte) []byte {
	res := kmsg.NewPtrMetadataResponse()
	res.Version = version
	id := "instant"
	res.ClusterID = &id
	host, port, _ := net.SplitHostPort(s.addr())
	broker := kmsg.NewMetadataResponseBroker()
	broker.NodeID, broker.Host = 1, host
	n, _ := strconv.Atoi(port)
	broker.Port = int32(n)
	res.Brokers = append(res.Brokers, broker)
	name := "bench"
	t := kmsg.NewMetadataResponseTopic()
	t.Topic = &name
	for i := range s.lanes {
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Partition, p.Leader = int32(i), 1
		p.Replicas, p.ISR = []int32{1}, []int32{1}
		t.Partitions = append(t.Partitions, p)
	}
	res.Topics = append(res.Topics, t)
	return res.AppendTo(out)
}

// cpu is what this process has used, the instant broker included.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportPerMessage(b *testing.B, begun time.Duration, perOp int) {
	n := float64(b.N * perOp)
	b.ReportMetric(float64(cpu()-begun)/n, "cpu-ns/msg")
	b.ReportMetric(n/b.Elapsed().Seconds(), "msg/s")
}

const benchLanes = 12

// BenchmarkPublish is the numerator of figures A1 and A2: an op is one batch of 500 messages of 1 KiB in each of 12 lanes.
func BenchmarkPublish(b *testing.B) {
	s := newInstant(b, benchLanes)
	cfg := DefaultConfig()
	cfg.Brokers = []string{s.addr()}
	p, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Open(context.Background(), 1); err != nil {
		b.Fatal(err)
	}
	msgs := kibibyte(500)
	b.SetBytes(benchLanes * 500 * 1024)
	b.ReportAllocs()
	begun := cpu()
	b.ResetTimer()
	var lanes sync.WaitGroup
	for i := range benchLanes {
		lanes.Go(func() {
			for range b.N {
				for _, o := range p.Publish(context.Background(), relay.Lane{Topic: "bench", Index: int32(i)}, msgs) {
					if o.Kind != relay.Acked {
						b.Errorf("%+v", o)
						return
					}
				}
			}
		})
	}
	lanes.Wait()
	b.StopTimer()
	reportPerMessage(b, begun, benchLanes*500)
	_ = p.Close(context.Background())
}

// BenchmarkRoundTrip is the denominator of A1 (D3): bare round trips of pre-encoded batches, two requests out.
func BenchmarkRoundTrip(b *testing.B) {
	s := newInstant(b, benchLanes)
	tr := &kafkago.Transport{}
	batch := encodeAll(kibibyte(500))
	b.SetBytes(benchLanes * 500 * 1024)
	begun := cpu()
	b.ResetTimer()
	var loops sync.WaitGroup
	for half := range 2 {
		loops.Go(func() {
			for range b.N {
				req := &rawproduce.Request{Acks: -1, Timeout: 10_000, Topics: []rawproduce.RequestTopic{{Topic: "bench"}}}
				for i := range benchLanes / 2 {
					req.Topics[0].Partitions = append(req.Topics[0].Partitions, rawproduce.RequestPartition{
						Partition: int32(half*benchLanes/2 + i), RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(batch)}})
				}
				m, err := tr.RoundTrip(context.Background(), kafkago.TCP(s.addr()), req)
				if err != nil || m.(*produce.Response).Topics[0].Partitions[0].ErrorCode != 0 {
					b.Error(err)
					return
				}
			}
		})
	}
	loops.Wait()
	b.StopTimer()
	reportPerMessage(b, begun, benchLanes*500)
	tr.CloseIdleConnections()
}

// BenchmarkWriter is the denominator of A2: the library's Writer as tuned as it gets, 16 callers with 500 messages each.
func BenchmarkWriter(b *testing.B) {
	s := newInstant(b, benchLanes)
	tr := &kafkago.Transport{}
	w := &kafkago.Writer{Addr: kafkago.TCP(s.addr()), Topic: "bench", Balancer: &kafkago.RoundRobin{}, BatchSize: 500, BatchBytes: 1 << 20,
		BatchTimeout: time.Millisecond, RequiredAcks: kafkago.RequireAll, Transport: tr}
	value := make([]byte, 1024)
	b.SetBytes(benchLanes * 500 * 1024)
	b.ReportAllocs()
	begun := cpu()
	b.ResetTimer()
	var callers sync.WaitGroup
	turns := make(chan struct{}, b.N*benchLanes)
	for range b.N * benchLanes {
		turns <- struct{}{}
	}
	close(turns)
	for range 16 {
		callers.Go(func() {
			for range turns {
				msgs := make([]kafkago.Message, 500)
				for i := range msgs {
					msgs[i] = kafkago.Message{Key: []byte("key"), Value: value, Headers: []kafkago.Header{{Key: "a", Value: []byte("b")}, {Key: "c", Value: []byte("d")}}}
				}
				if err := w.WriteMessages(context.Background(), msgs...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	callers.Wait()
	b.StopTimer()
	reportPerMessage(b, begun, benchLanes*500)
	_ = w.Close()
	tr.CloseIdleConnections()
}

// BenchmarkPublishOne is figure A3's numerator: one message alone, there and back.
func BenchmarkPublishOne(b *testing.B) {
	s := newInstant(b, 1)
	cfg := DefaultConfig()
	cfg.Brokers = []string{s.addr()}
	p, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Open(context.Background(), 1); err != nil {
		b.Fatal(err)
	}
	msgs := kibibyte(1)
	for b.Loop() {
		if o := p.Publish(context.Background(), relay.Lane{Topic: "bench"}, msgs); o[0].Kind != relay.Acked {
			b.Fatal(fmt.Sprint(o))
		}
	}
	_ = p.Close(context.Background())
}

// BenchmarkProduceOne is A3's denominator: the library's own call without its Writer.
func BenchmarkProduceOne(b *testing.B) {
	s := newInstant(b, 1)
	tr := &kafkago.Transport{}
	client := &kafkago.Client{Addr: kafkago.TCP(s.addr()), Transport: tr}
	value, key := make([]byte, 1024), []byte("key-0")
	for b.Loop() {
		res, err := client.Produce(context.Background(), &kafkago.ProduceRequest{Topic: "bench", RequiredAcks: kafkago.RequireAll,
			Records: kafkago.NewRecordReader(kafkago.Record{Key: kafkago.NewBytes(key), Value: kafkago.NewBytes(value),
				Headers: []kafkago.Header{{Key: "tenant", Value: []byte("t-1")}, {Key: "region", Value: []byte("eu")}}})})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	tr.CloseIdleConnections()
}
