package main

import (
	"fmt"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// stateOf is a message's state in one word.
func stateOf(m relay.MessageRow) string {
	if m.Detail != "" {
		return m.Detail
	}
	return m.State
}

// clock writes a moment for people; empty = none.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

func age(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := now.Sub(t)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}
