package record

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

func TestMessageIsWhatWasEncoded(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8_009_000, time.UTC)
	msgs := []*relay.Message{
		{ID: 1, MessageID: "a-1", CreatedAt: at, Key: "k", Payload: []byte("one"), Size: 3, Type: "order.paid", ContentType: "application/json",
			Headers: []relay.Header{{Name: "tenant", Value: "t-1"}, {Name: "", Value: "\x00"}}, Traceparent: "00-1-2-01", Tracestate: "v=1"},
		{ID: 2, MessageID: "a-2", CreatedAt: at, Tombstone: true, Key: "k"},
		{ID: 3, MessageID: "a-3", CreatedAt: at, Payload: []byte{}},
	}
	i := 0
	err := Decode(encodeAll(&Encoder{}, nil, session{}, msgs)[SizePrefix:], func(r Record) error {
		want := *msgs[i]
		want.Topic, want.Target = "t", "t"
		if got, err := r.Message("t"); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		i++
		return nil
	})
	if err != nil || i != len(msgs) {
		t.Errorf("%d records, %v", i, err)
	}
}

func TestMessageRefusesHeadersOfOurs(t *testing.T) {
	for _, name := range []string{HeaderSeq, HeaderTime} {
		r := Record{Offset: 7, Headers: []Header{{name, []byte("x")}}}
		if _, err := r.Message("t"); err == nil || !strings.Contains(err.Error(), "offset 7: header "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
