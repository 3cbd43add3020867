package rocketmq

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

func FuzzDecode(f *testing.F) {
	frame, err := (&command{Code: 17, Opaque: 3, ExtFields: map[string]string{"a": "b"}, body: []byte("body")}).encode(credentials{"access", "secret"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frame[4:])
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Add([]byte("\x00\x00\x00\x10{1:{-2:[3,4],5:6}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decode(b)
		if err != nil {
			return
		}
		again, err := c.encode(credentials{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := decode(again[4:])
		if err != nil || d.Code != c.Code || d.Opaque != c.Opaque || !bytes.Equal(d.body, c.body) {
			t.Fatalf("%+v became %+v, %v", c, d, err)
		}
	})
}

func TestFramesAreBounded(t *testing.T) {
	for _, size := range []uint32{0, 3, maxAnswer + 1, 1<<32 - 1} {
		if _, err := readFrame(bytes.NewReader(binary.BigEndian.AppendUint32(nil, size))); err != errFrame {
			t.Errorf("a frame of %d bytes: %v", size, err)
		}
	}
}

func FuzzStandardJSON(f *testing.F) {
	f.Add([]byte(`{0:"a",-1:{2:[1,2,{3:4}]},"5:{6:":"\"{7:8}"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		out := standardJSON(b)
		if json.Valid(b) && !bytes.Equal(out, b) {
			t.Fatalf("valid JSON was changed: %q became %q", b, out)
		}
		if again := standardJSON(out); json.Valid(out) && !bytes.Equal(again, out) {
			t.Fatalf("%q became %q", out, again)
		}
	})
}

func TestStandardJSON(t *testing.T) {
	for in, out := range map[string]string{
		`{0:"127.0.0.1:10911",1:"x"}`: `{"0":"127.0.0.1:10911","1":"x"}`,
		`{"a":{-1:[1,2]} , 12 : 3}`:   `{"a":{"-1":[1,2]} , 12 : 3}`,
		`{"k":"{0:1}"}`:               `{"k":"{0:1}"}`,
		`[1,2,3]`:                     `[1,2,3]`,
	} {
		if got := string(standardJSON([]byte(in))); got != out {
			t.Errorf("%s became %s, want %s", in, got, out)
		}
	}
}

// stored makes bytes as a broker stores them.
func stored(id int32, offset int64, body, properties string) []byte {
	be := binary.BigEndian
	b := be.AppendUint32(make([]byte, 12), uint32(id))
	b = be.AppendUint64(be.AppendUint32(b, 0), uint64(offset))
	b = be.AppendUint32(be.AppendUint64(b, 0), 0)
	b = append(be.AppendUint64(b, 1), make([]byte, 8)...)
	b = append(be.AppendUint64(b, 2), make([]byte, 8+12)...)
	b = append(be.AppendUint32(b, uint32(len(body))), body...)
	b = append(append(b, 1), 't')
	b = append(be.AppendUint16(b, uint16(len(properties))), properties...)
	be.PutUint32(b, uint32(len(b)))
	return b
}

func FuzzDecodeStored(f *testing.F) {
	f.Add(append(stored(1, 2, "body", "a\x01b\x02"), stored(1, 3, "", "")...))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = decodeStored(b, func(r Record) error { _, _ = r.Message("t"); return nil }) // no panic
	})
}

func TestDecodeStored(t *testing.T) {
	b := append(stored(1, 2, "body", "a\x01b\x02c\x01d"), stored(1, 3, "", "")...)
	var got []string
	if err := decodeStored(b, func(r Record) error {
		got = append(got, fmt.Sprintf("%d %d %q %v", r.Queue, r.Offset, r.Body, r.Properties))
		return nil
	}); err != nil || !slices.Equal(got, []string{`1 2 "body" [{a b} {c d}]`, `1 3 "" []`}) {
		t.Errorf("%q, %v", got, err)
	}
	const properties = "a\x01b\x02c\x01d"
	for written := range len(properties) + 1 {
		b := stored(1, 2, "body", properties[:written]+strings.Repeat("\x00", len(properties)-written))
		if err := decodeStored(b, func(r Record) error {
			if r.Torn != (written < len(properties)) {
				t.Errorf("%d bytes of the properties were written: torn %v", written, r.Torn)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	first := len(stored(1, 2, "body", properties))
	for n := 1; n < len(b); n++ {
		if err := decodeStored(b[:n], func(Record) error { return nil }); (err == nil) != (n == first) {
			t.Errorf("cut at %d of %d: %v", n, len(b), err)
		}
	}
}

// FuzzProperties: what is encoded comes back from the text, with the library's own reader too, or is refused; twice encoded it is the same.
func FuzzProperties(f *testing.F) {
	f.Add("k", "type", "name", "value", "text/plain")
	f.Add("a\x01", "t|x", "DELAY", "", "")
	f.Add("", "two words", "", "v", "\x02")
	f.Add("k", "t", "h-h-WAIT", "false", "")
	f.Add("k", "t", "KEYS", "mine", "")
	f.Fuzz(func(t *testing.T, key, kind, name, value, content string) {
		m := &relay.Message{ID: 7, MessageID: "gen-7", Key: key, Type: kind, ContentType: content, CreatedAt: time.UnixMicro(1_700_000_000_000_001),
			Headers: []relay.Header{{Name: name, Value: value}}}
		e, _, why := encode(m, TombstoneReject, 7)
		if why != "" {
			return
		}
		if again, _, _ := encode(m, TombstoneReject, 7); again.properties != e.properties {
			t.Fatal("not the same twice")
		}
		text := e.message("t", nil).MarshallProperties()
		if len(text) > maxProperties || len(text) != len(propUnique)+2+len(e.properties) {
			t.Fatalf("%d bytes, counted as %d", len(text), len(propUnique)+2+len(e.properties))
		}
		var r Record
		parseProperties(text, func(n, v string) { r.Properties = append(r.Properties, relay.Header{Name: n, Value: v}) })
		back, err := r.Message("t")
		if err != nil {
			if name != "" && strings.HasPrefix(name, "waybill-") { // the outbox refuses those
				return
			}
			t.Fatal(err)
		}
		if ours := strings.HasPrefix(name, "waybill-") || name == "content-type" || name == "traceparent" || name == "tracestate"; ours {
			return
		}
		if back.MessageID != m.MessageID || back.ID != m.ID || back.Key != key || back.Type != kind || back.ContentType != content || !back.CreatedAt.Equal(m.CreatedAt) {
			t.Fatalf("%+v came back as %+v", m, back)
		}
		if wanted := value != ""; wanted != slices.Contains(back.Headers, m.Headers[0]) {
			t.Fatalf("header %+v came back as %+v", m.Headers, back.Headers)
		}
		if own := []string{propUnique, propKeys, propTags, propSharding}; reserved[name] && !slices.Contains(own, name) {
			if _, steered := r.Property(name); steered {
				t.Fatalf("the header %s steers RocketMQ", name)
			}
		}
		var theirs primitive.Message
		theirs.UnmarshalProperties([]byte(text))
		if theirs.GetKeys() != "gen-7" || theirs.GetShardingKey() != key || len(theirs.GetProperty(propUnique)) != 32 {
			t.Fatalf("the library reads %v", theirs.GetProperties())
		}
	})
}

func TestWhatRocketMQCannotCarry(t *testing.T) {
	for name, change := range map[string]func(*relay.Message){
		"separators": func(m *relay.Message) { m.Key = "a\x02b" },
		"no name":    func(m *relay.Message) { m.Headers = []relay.Header{{Name: "", Value: "v"}} },
		"32743":      func(m *relay.Message) { m.Headers = []relay.Header{{Name: "h", Value: strings.Repeat("x", 32_700)}} },
		"protocol":   func(m *relay.Message) { m.Payload = make([]byte, maxFrame) },
		"NULL":       func(m *relay.Message) { m.Tombstone = true },
	} {
		m := ids("t", "k", 1)[0]
		change(m)
		if _, class, why := encode(m, TombstoneReject, 8); class == "" || !strings.Contains(why, name) {
			t.Errorf("%s: %s %q", name, class, why)
		}
	}
	m := ids("t", "k", 1)[0]
	m.Tombstone, m.Payload = true, nil
	e, _, why := encode(m, TombstoneByte, 8)
	if why != "" || !bytes.Equal(e.body, []byte{0}) || !strings.Contains(e.properties, propTombstone+"\x011") {
		t.Errorf("%+v %s", e, why)
	}
}

func TestUniqueKeyIsOfTheMessageId(t *testing.T) {
	a, b := ids("t", "k", 1)[0], ids("u", "l", 2)[0]
	b.MessageID = a.MessageID
	ea, _, _ := encode(a, TombstoneReject, 8)
	eb, _, _ := encode(b, TombstoneReject, 8)
	if ea.properties[:32] != eb.properties[:32] {
		t.Error("two messages with one id have two unique keys")
	}
}

// Vectors of Java: "…".hashCode(), and Kafka's murmur2.
func TestPartitioners(t *testing.T) {
	for key, want := range map[string]int32{"": 0, "a": 97, "hello": 99162322, "polygenelubricants": -2147483648, "\u00e9\U0001F600": 0x1a3d5c + 0} {
		if key == "\u00e9\U0001F600" {
			want = (0xe9*31+0xd83d)*31 + 0xde00
		}
		if got := javaHash(key); got != want {
			t.Errorf("javaHash(%q) = %d, want %d", key, got, want)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %#x", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, p := range []Partitioner{PartitionerMurmur2, PartitionerJavaHash} {
		hash := p.hash()
		for range 10_000 {
			n := int32(r.IntN(300) + 1)
			if q := hash(fmt.Sprint(r.Uint64()), n); q < 0 || q >= n {
				t.Fatalf("%s: queue %d of %d", p, q, n)
			}
		}
		if q := hash("polygenelubricants", 7); q < 0 || q > 6 {
			t.Errorf("%s: queue %d", p, q)
		}
	}
	if got := PartitionerMurmur2.hash()("21", 1000); got != int32(record.Murmur2("21")&0x7fffffff)%1000 {
		t.Error(got)
	}
}

func TestSameCluster(t *testing.T) {
	for _, row := range []struct {
		a, b string
		same bool
	}{{"c/a,b", "c/b,d", true}, {"c/a", "c/a", true}, {"c/a", "d/a", false}, {"c/a", "c/b", false}, {"c/ab", "c/a", false}} {
		if SameCluster(row.a, row.b) != row.same {
			t.Errorf("%s and %s: %v", row.a, row.b, !row.same)
		}
	}
}
