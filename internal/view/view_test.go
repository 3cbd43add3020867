package view

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// What is not known is left out, and nothing is ever null: a program needs no second case for a list that is empty.
func TestNothingIsNull(t *testing.T) {
	for name, v := range map[string]any{
		"row": OfRow(relay.MessageRow{}), "message": OfMessage(relay.MessageInfo{Places: make([]relay.Place, 1)}), "attempt": OfAttempt(relay.AttemptInfo{}),
		"acted": OfActed("retry", relay.Acted{}), "key": OfKey(relay.KeyInfo{}), "failure": OfFailure(relay.FailureGroup{}), "activity": OfActivity(relay.ActivityRow{}),
		"operation": OfOperation(relay.Operation{}), "plan": OfOperation(relay.Operation{Summary: relay.PlanSummary{Keys: 1}}), "item": OfOperationItem(relay.OperationItem{}),
		"status": OfStatus(Why{Evidence: []string{}, Next: []string{}}, relay.Overview{}), "list": OfList("RowList", nil, "", false),
		"listed": Listed("RowList", nil, "", false, OfRow),
	} {
		var b bytes.Buffer
		if err := Encode(&b, v); err != nil || strings.Contains(b.String(), "null") {
			t.Errorf("%s: %v %s", name, err, &b)
		}
	}
}

// A number that a float would round is text.
func TestBigNumbersAreText(t *testing.T) {
	for want, v := range map[string]any{
		`"id": "9223372036854775807"`:     OfRow(relay.MessageRow{ID: math.MaxInt64}),
		`"offset": "9223372036854775807"`: OfMessage(relay.MessageInfo{Places: []relay.Place{{Offset: math.MaxInt64, HasOffset: true}}}),
		`"epoch": "9223372036854775807"`:  OfAttempt(relay.AttemptInfo{Epoch: math.MaxInt64}),
		`"head": "9223372036854775807"`:   OfKey(relay.KeyInfo{Head: math.MaxInt64}),
		`"behind": "10000+"`:              OfKey(relay.KeyInfo{Behind: relay.CountCap + 1}),
		`"key": "<b>&"`:                   OfRow(relay.MessageRow{Key: "<b>&"}),
	} {
		var b bytes.Buffer
		if err := Encode(&b, v); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%v, want %s in %s", err, want, &b)
		}
	}
}

// Only a plan expires.
func TestExpiry(t *testing.T) {
	at := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	if v := OfOperation(relay.Operation{State: relay.OperationPlanned, ExpiresAt: at}); !v.ExpiresAt.Equal(at) {
		t.Error("a plan does not say when it expires")
	}
	if v := OfOperation(relay.Operation{State: relay.OperationRunning, ExpiresAt: at}); !v.ExpiresAt.IsZero() {
		t.Error("what runs expires")
	}
}
