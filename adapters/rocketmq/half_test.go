package rocketmq

import (
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// TestJudge: the state of the table decides about a half.
func TestJudge(t *testing.T) {
	at := func(n int64) relay.Position { return relay.Position{Offset: n, HasOffset: true} }
	elsewhere := relay.Position{Offset: 7}
	for _, row := range []struct {
		name     string
		receipts []relay.Position
		want     verdict
	}{
		{"no receipt", nil, undecided},
		{"of this half", []relay.Position{at(7)}, commit},
		{"of this half and others", []relay.Position{at(1), elsewhere, at(7)}, commit},
		{"of another copy", []relay.Position{at(8)}, rollback},
		{"of another destination", []relay.Position{elsewhere}, rollback},
	} {
		if v := judge(7, row.receipts); v != row.want {
			t.Errorf("%s: %d, want %d", row.name, v, row.want)
		}
	}
}

// TestPlaceOfAHalf reads offset message ids as brokers write them, with IPv4 and IPv6 addresses, and refuses others.
func TestPlaceOfAHalf(t *testing.T) {
	for id, want := range map[string]int64{"7F00000100002A9F00000000000F4240": 1_000_000, "00000000000000000000000000000001" + "00002A9F" + "7FFFFFFFFFFFFFFF": 1<<63 - 1} {
		if at, ok := logOffset(id); !ok || at != want {
			t.Errorf("%s: %d %v", id, at, ok)
		}
	}
	for _, id := range []string{"", "7F000001", "7F00000100002A9F00000000000F424X"} {
		if _, ok := logOffset(id); ok {
			t.Errorf("%q was read", id)
		}
	}
}

// TestHalfIsTheMessage: a half has its message's properties, and three more that are no headers; the number comes back.
func TestHalfIsTheMessage(t *testing.T) {
	m := ids("t", "", 5)[0]
	m.Headers = []relay.Header{{Name: "h", Value: "v"}}
	plain, _, _ := encode(m, TombstoneReject, 7)
	half := plain
	half.asHalf("group_half", 42)
	if half.unique() != plain.unique() || len(half.unique()) != 32 {
		t.Errorf("UNIQ_KEY %q and %q", half.unique(), plain.unique())
	}
	msg := half.message("t", nil)
	r := Record{Body: m.Payload}
	parseProperties(msg.MarshallProperties(), func(name, value string) { r.Properties = append(r.Properties, relay.Header{Name: name, Value: value}) })
	for name, want := range map[string]string{"TRAN_MSG": "true", "PGROUP": "group_half", propHalf: "42", "KEYS": "gen-5"} {
		if got, _ := r.Property(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	back, err := r.Message("t")
	if err != nil || back.MessageID != m.MessageID || back.ID != m.ID || len(back.Headers) != 1 || back.Headers[0] != m.Headers[0] {
		t.Errorf("%+v, %v", back, err)
	}
	if why := half.tooLarge(half.size()+2*halfSpare, 7); why != "" {
		t.Error(why)
	}
	if why := half.tooLarge(half.size()+2*halfSpare-1, 7); why == "" {
		t.Error("a half that does not fit with what the broker adds passes")
	}
}

// FuzzQuestion: whatever a broker sends, a question is read whole or refused.
func FuzzQuestion(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00"), "1", "2")
	f.Add([]byte{}, "", "x")
	f.Fuzz(func(t *testing.T, body []byte, a, b string) {
		q, err := readQuestion(&command{Code: reqCheckBack, ExtFields: map[string]string{"tranStateTableOffset": a, "commitLogOffset": b}, body: body})
		if err == nil && (q.id == 0 || q.messageID == "") {
			t.Errorf("%+v", q)
		}
	})
}

// TestQuestionsWait: each half has one question, the newest, in the turn of its first; more than may wait are left to be asked again.
func TestQuestionsWait(t *testing.T) {
	a, now := newQuestions(), time.Now()
	ask := func(id, number, place int64) {
		a.add(question{id: relay.ID(id), number: number, half: half{queueOffset: place}}, now.Add(time.Duration(place)))
	}
	ask(1, 7, 0)
	ask(2, 7, 1)
	ask(1, 7, 2) // stored anew
	ask(1, 8, 3) // another copy
	for _, want := range []int64{2, 1, 3} {
		<-a.some
		q, any := a.next()
		if !any || q.half.queueOffset != want || !q.at.Equal(now.Add(time.Duration(want))) || a.again(q) {
			t.Errorf("%+v, want the half at %d", q, want)
		}
		if want == 2 {
			if ask(1, 7, 4); !a.again(q) {
				t.Error("asked again, and not noticed")
			}
		}
	}
	if q, any := a.next(); !any || q.half.queueOffset != 4 {
		t.Errorf("%+v %v", q, any)
	}
	if _, any := a.next(); any {
		t.Error("a question too many")
	}
	for i := range int64(maxQuestions + 5) {
		ask(i, i, i)
	}
	if len(a.order) != maxQuestions || len(a.last) != maxQuestions {
		t.Errorf("%d wait", len(a.order))
	}
}
