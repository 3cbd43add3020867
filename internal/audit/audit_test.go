package audit

import (
	"fmt"
	"testing"
)

// sound is n messages of two keys, each stored once in order on lane t/0, as the receipts say.
func sound(n int) ([]Produced, map[int64]Place, []Stored) {
	var produced []Produced
	var stored []Stored
	sent := map[int64]Place{}
	for i := range n {
		p := Produced{ID: int64(i + 1), MessageID: fmt.Sprintf("u-%d", i+1), Topic: "t", Key: fmt.Sprint(i % 2), Sum: SumOf("t", fmt.Sprint(i%2), []byte{byte(i)})}
		at := Place{"t/0", int64(i)}
		produced, stored = append(produced, p), append(stored, Stored{at, p.ID, p.MessageID, p.Sum})
		sent[p.ID] = at
	}
	return produced, sent, stored
}

func TestCompareFindsEachDifference(t *testing.T) {
	for _, c := range []struct {
		name string
		harm func(p *[]Produced, sent map[int64]Place, s *[]Stored)
		want string
	}{
		{"nothing", func(*[]Produced, map[int64]Place, *[]Stored) {}, "6 6 6 lost 0 phantom 0 order 0 dup 0 altered 0"},
		{"a lost record", func(_ *[]Produced, _ map[int64]Place, s *[]Stored) { *s = (*s)[:5] }, "6 6 5 lost 1 phantom 0 order 0 dup 0 altered 0"},
		{"a receipt that names another place", func(_ *[]Produced, sent map[int64]Place, _ *[]Stored) { sent[3] = Place{"t/0", 4} }, "6 6 6 lost 1 phantom 0 order 0 dup 0 altered 0"},
		{"confirmed without a place", func(_ *[]Produced, sent map[int64]Place, _ *[]Stored) { sent[3] = Place{"t/7", -1} }, "6 6 6 lost 0 phantom 0 order 0 dup 0 altered 0"},
		{"confirmed without a place, and lost", func(_ *[]Produced, sent map[int64]Place, s *[]Stored) {
			sent[6] = Place{"t/7", -1}
			*s = (*s)[:5]
		}, "6 6 5 lost 1 phantom 0 order 0 dup 0 altered 0"},
		{"an id that nobody accounts for", func(_ *[]Produced, sent map[int64]Place, s *[]Stored) { delete(sent, 6); *s = (*s)[:5] }, "6 5 5 lost 1 phantom 0 order 0 dup 0 altered 0"},
		{"a pending one", func(p *[]Produced, sent map[int64]Place, s *[]Stored) {
			delete(sent, 6)
			*s = (*s)[:5]
			(*p)[5].Waits = true
		}, "6 5 5 lost 0 phantom 0 order 0 dup 0 altered 0"},
		{"a record without a row", func(p *[]Produced, sent map[int64]Place, _ *[]Stored) { delete(sent, 6); *p = (*p)[:5] }, "5 5 5 lost 0 phantom 1 order 0 dup 0 altered 0"},
		{"a record of another generation", func(_ *[]Produced, _ map[int64]Place, s *[]Stored) { (*s)[5].MessageID = "v-6" }, "6 6 5 lost 0 phantom 1 order 0 dup 0 altered 0"},
		{"a key out of order", func(_ *[]Produced, sent map[int64]Place, s *[]Stored) {
			(*s)[0], (*s)[2] = (*s)[2], (*s)[0]
			(*s)[0].At.Offset, (*s)[2].At.Offset = 0, 2
			sent[1], sent[3] = Place{"t/0", 2}, Place{"t/0", 0}
		}, "6 6 6 lost 0 phantom 0 order 1 dup 0 altered 0"},
		{"an unordered one out of order", func(p *[]Produced, sent map[int64]Place, s *[]Stored) {
			(*s)[0], (*s)[2] = (*s)[2], (*s)[0]
			(*s)[0].At.Offset, (*s)[2].At.Offset = 0, 2
			sent[1], sent[3] = Place{"t/0", 2}, Place{"t/0", 0}
			(*p)[2].Unordered = true
		}, "6 6 6 lost 0 phantom 0 order 0 dup 0 altered 0"},
		{"a copy", func(_ *[]Produced, _ map[int64]Place, s *[]Stored) {
			again := (*s)[1]
			again.At.Offset = 6
			*s = append(*s, again)
		}, "6 6 6 lost 0 phantom 0 order 0 dup 1 altered 0"},
		{"another payload", func(_ *[]Produced, _ map[int64]Place, s *[]Stored) { (*s)[1].Sum = SumOf("t", "1", nil) }, "6 6 6 lost 0 phantom 0 order 0 dup 0 altered 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, sent, s := sound(6)
			c.harm(&p, sent, &s)
			r := Compare(p, sent, s)
			got := fmt.Sprintf("%d %d %d lost %d phantom %d order %d dup %d altered %d", r.Written, r.Sent, r.Stored, r.Lost, r.Phantom, r.OutOfOrder, r.Duplicates, r.Altered)
			if got != c.want {
				t.Errorf("got  %s\nwant %s\n%+v", got, c.want, r.Differences)
			}
			if n := r.Lost + r.Phantom + r.OutOfOrder + r.Altered; r.Clean() != (n == 0) || len(r.Differences) != n+r.Duplicates {
				t.Errorf("clean %v with %d differences of %d", r.Clean(), len(r.Differences), n+r.Duplicates)
			}
		})
	}
}

// What was not read is counted as that and nothing else; what was read is judged as ever.
func TestCompareJudgesWhatWasRead(t *testing.T) {
	for _, c := range []struct {
		name string
		read Read
		harm func(p []Produced, sent map[int64]Place, s []Stored) []Stored
		want string
	}{
		{"all of it", Read{"t/0": {0, 6}}, nil, "stored 6 unread 0 lost 0 order 0 altered 0"},
		{"a lane that cannot be read", Read{}, func(_ []Produced, _ map[int64]Place, _ []Stored) []Stored { return nil }, "stored 0 unread 6 lost 0 order 0 altered 0"},
		{"retention took the first two", Read{"t/0": {2, 6}}, func(_ []Produced, _ map[int64]Place, s []Stored) []Stored { return s[2:] }, "stored 4 unread 2 lost 0 order 0 altered 0"},
		{"the time was over", Read{"t/0": {0, 4}}, func(_ []Produced, _ map[int64]Place, s []Stored) []Stored { return s[:4] }, "stored 4 unread 2 lost 0 order 0 altered 0"},
		{"one is lost where it was read", Read{"t/0": {0, 6}}, func(_ []Produced, _ map[int64]Place, s []Stored) []Stored { return s[:5] }, "stored 5 unread 0 lost 1 order 0 altered 0"},
		{"a place that nobody told", Read{"t/0": {0, 6}}, func(_ []Produced, sent map[int64]Place, s []Stored) []Stored {
			sent[6] = Place{"t/7", -1}
			return s[:5]
		}, "stored 5 unread 1 lost 0 order 0 altered 0"},
		{"in the form of its route", Read{"t/0": {0, 6}}, func(p []Produced, _ map[int64]Place, s []Stored) []Stored {
			p[2].Event = SumOf("t", "0", []byte("event"))
			s[2].Sum = p[2].Event
			return s
		}, "stored 6 unread 0 lost 0 order 0 altered 0"},
		{"in no form", Read{"t/0": {0, 6}}, func(p []Produced, _ map[int64]Place, s []Stored) []Stored {
			p[2].Event = SumOf("t", "0", []byte("event"))
			s[2].Sum = SumOf("t", "0", []byte("other"))
			return s
		}, "stored 6 unread 0 lost 0 order 0 altered 1"},
		{"a key that went on in another lane", Read{"t/0": {0, 6}, "t/1": {0, 6}}, func(_ []Produced, sent map[int64]Place, s []Stored) []Stored {
			at := Place{"t/1", 0}
			sent[1], s[0].At = at, at
			return append(s[1:], s[0])
		}, "stored 6 unread 0 lost 0 order 0 altered 0"},
		{"a key out of order in its lane", Read{"t/0": {0, 6}}, func(_ []Produced, sent map[int64]Place, s []Stored) []Stored {
			s[0], s[2] = s[2], s[0]
			s[0].At.Offset, s[2].At.Offset = 0, 2
			sent[1], sent[3] = Place{"t/0", 2}, Place{"t/0", 0}
			return s
		}, "stored 6 unread 0 lost 0 order 1 altered 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, sent, s := sound(6)
			if c.harm != nil {
				s = c.harm(p, sent, s)
			}
			r := CompareRead(p, sent, s, c.read)
			got := fmt.Sprintf("stored %d unread %d lost %d order %d altered %d", r.Stored, r.Unread, r.Lost, r.OutOfOrder, r.Altered)
			if got != c.want || r.Sent != 6 {
				t.Errorf("got  %s\nwant %s\n%+v", got, c.want, r.Differences)
			}
		})
	}
}

func TestSumTellsTombstoneFromEmpty(t *testing.T) {
	if SumOf("t", "k", nil) == SumOf("t", "k", []byte{}) || SumOf("ab", "c", nil) == SumOf("a", "bc", nil) {
		t.Error("two different messages have one sum")
	}
}
