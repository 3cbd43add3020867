package view

import (
	"testing"
	"time"
)

func TestParseUntil(t *testing.T) {
	now := time.Date(2026, 1, 31, 10, 0, 0, 400_000_000, time.FixedZone("", 3600))
	for text, want := range map[string]string{"": "0001-01-01T00:00:00Z", "  ": "0001-01-01T00:00:00Z", "2h": "2026-01-31T11:00:00Z", " 90m ": "2026-01-31T10:30:00Z",
		"2026-01-31T12:00:00Z": "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.9+02:00": "2026-01-31T10:00:00Z", "2020-01-01T00:00:00Z": "2020-01-01T00:00:00Z"} {
		got, err := ParseUntil(text, now)
		if err != nil || got.Format(time.RFC3339) != want || got.Location() != time.UTC {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"-2h", "0s", "2", "12:00", "tomorrow", "2026-01-31", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.5Z", "9999999999h", "infinity"} {
		if got, err := ParseUntil(text, now); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}
