package view

import (
	"errors"
	"strings"
	"time"
)

// ParseUntil reads when something ends, as people and programs write it: how long from now (90m, 2h), or a moment (RFC 3339). Empty = no end, the zero time. It is
// rounded to a second. The error is a part of a sentence; a moment that is over is the database's to refuse.
func ParseUntil(text string, now time.Time) (time.Time, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d).UTC().Round(time.Second), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.Truncate(time.Second).IsZero() {
		return time.Time{}, errors.New("write how long, such as 90m or 2h, or the moment, such as 2026-01-31T12:00:00Z")
	}
	return at.UTC().Truncate(time.Second), nil
}
