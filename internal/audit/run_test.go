package audit

import (
	"strings"
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	for _, c := range []struct {
		lo, hi, from, to int64
		a, b             int64
		wrong            string
	}{
		{1, 50_000, 0, 0, 40_001, 50_000, ""},
		{1, 500, 0, 0, 1, 500, ""},
		{1, 50_000, 7, 9, 7, 9, ""},
		{1, 50_000, 7, 0, 7, 10_006, ""},
		{1, 50_000, 49_999, 0, 49_999, 50_000, ""},
		{1, 50_000, 0, 12_000, 2_001, 12_000, ""},
		{100, 50_000, 7, 200, 100, 200, ""},
		{1, 200_000, 1, MaxWindow, 1, MaxWindow, ""},
		{1, 200_000, 1, MaxWindow + 1, 0, 0, "one audit takes 100000"},
		{1, 500, 7, 501, 0, 0, "id 501 is too young"},
		{1, 500, 501, 0, 0, 0, "id 501 is too young"},
		{100, 500, 7, 99, 0, 0, "the first one is 100"},
		{1, 500, 9, 7, 0, 0, "are no range"},
		{1, 500, -9, -7, 0, 0, "are no range"},
		{1, 0, 0, 0, 0, 0, "no message is older than 10 minutes"},
		{0, 0, 1, 2, 0, 0, "no message is older than 10 minutes"},
		{1, 500, 1, 9223372036854775807, 0, 0, "is too young"},
	} {
		a, b, err := Window(c.lo, c.hi, c.from, c.to)
		if a != c.a || b != c.b || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%+v: %d to %d, %v", c, a, b, err)
		}
	}
}

func TestVerdictIsNeverCleanForWhatWasNotRead(t *testing.T) {
	end := time.Unix(1, 0)
	for want, r := range map[Verdict]Run{
		Running:     {},
		Failed:      {EndedAt: end, Failure: "the database went away", Result: Result{Lost: 1}},
		Clean:       {EndedAt: end, Result: Result{Sent: 100, Unread: 1, Duplicates: 7}},
		Void:        {EndedAt: end, Result: Result{Sent: 199, Unread: 2}},
		Differences: {EndedAt: end, Result: Result{Sent: 100, Unread: 100, Altered: 1}},
	} {
		if got := r.Verdict(); got != want || want != Running && !strings.HasPrefix(r.Line(), string(want)+": ") {
			t.Errorf("%s, want %s: %s", got, want, r.Line())
		}
	}
	if r := (Run{EndedAt: end}); r.Verdict() != Clean {
		t.Errorf("nothing was sent: %s", r.Verdict())
	}
}
