package postgres

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

func TestHeaders(t *testing.T) {
	for in, want := range map[string][]relay.Header{
		`{}`:                                    nil,
		`{"b": "2", "aa": "1é\n\"", "": ""}`:    {{Name: "b", Value: "2"}, {Name: "aa", Value: "1é\n\""}, {Name: "", Value: ""}},
		"\x01" + `{"a": "binary form"}`:         {{Name: "a", Value: "binary form"}},
		`{"n": 1, "o": {"x": null}, "z": null}`: {{Name: "n", Value: "1"}, {Name: "o", Value: `{"x": null}`}, {Name: "z", Value: "null"}},
		`[1, 2]`:                                {{Name: "headers", Value: "[1, 2]"}},
		`"s"`:                                   {{Name: "headers", Value: `"s"`}},
	} {
		if got := headers([]byte(in)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
}

// TestMoment (B5).
func TestMoment(t *testing.T) {
	for us, want := range map[int64]time.Time{
		0:                         time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		1_500_000:                 time.Date(2000, 1, 1, 0, 0, 1, 5e8, time.UTC),
		-1:                        time.Date(1999, 12, 31, 23, 59, 59, 999_999_000, time.UTC),
		9223371331200000000 - 1e6: time.Date(294276, 12, 31, 23, 59, 59, 0, time.UTC), // the last moment that the type holds
		-211813488000000000:       time.Date(-4713, 11, 24, 0, 0, 0, 0, time.UTC),     // the first
		math.MaxInt64:             time.Date(294276, 12, 31, 23, 59, 59, 0, time.UTC),
		math.MinInt64:             {},
	} {
		if got := moment(binary.BigEndian.AppendUint64(nil, uint64(us))); !got.Equal(want) {
			t.Errorf("%d: %v, want %v", us, got, want)
		}
	}
	if !moment(nil).IsZero() {
		t.Error("null is not the zero time")
	}
}

// TestDecoderSharesChunks: strings and payloads of many rows lie in few allocations, and none writes over another.
func TestDecoderSharesChunks(t *testing.T) {
	d := newDecoder([]relay.Generation{{From: 0, UUID: "old"}, {From: 100, UUID: "new"}})
	row := make([][]byte, colCount)
	row[colCreatedAt], row[colTopic] = bigint(0), []byte("t")
	const n = 3000
	messages := make([]relay.Message, n)
	body := func(i int) []byte { return []byte(strings.Repeat(string(rune('a'+i%26)), 1+i%2000)) }
	fill := func() {
		for i := range messages {
			row[colID], row[colKey], row[colPayload] = bigint(int64(i)), []byte("key"+relay.ID(i).String()), body(i)
			row[colSize] = integer(int32(len(row[colPayload])))
			messages[i] = relay.Message{}
			if err := d.message(&messages[i], row); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	for i := range messages {
		m := &messages[i]
		prefix := "old-"
		if i >= 100 {
			prefix = "new-"
		}
		if m.Key != "key"+m.ID.String() || string(m.Payload) != string(body(i)) || m.MessageID != prefix+m.ID.String() || m.Topic != "t" {
			t.Fatalf("message %d came as %+v", i, m)
		}
	}
	row[colPayload], row[colSize] = []byte{}, integer(0)
	var empty, tombstone relay.Message
	if err := d.message(&empty, row); err != nil || empty.Payload == nil || empty.Tombstone || empty.NeedsFetch() {
		t.Errorf("an empty payload came as %+v, %v", empty, err)
	}
	row[colPayload], row[colSize] = nil, nil
	if err := d.message(&tombstone, row); err != nil || !tombstone.Tombstone {
		t.Errorf("a null payload came as %+v, %v", tombstone, err)
	}
	row[colKey], row[colPayload], row[colSize] = []byte("k"), make([]byte, 1024), integer(1024)
	each := testing.AllocsPerRun(20_000, func() {
		var m relay.Message
		if err := d.message(&m, row); err != nil {
			t.Fatal(err)
		}
	})
	if each > 0.05 {
		t.Errorf("%.3f allocations for each row", each)
	}
}
