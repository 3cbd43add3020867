package rabbitmq

import (
	"strings"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

const (
	ack  = relay.Acked
	rej  = relay.Rejected
	unk  = relay.Unknown
	una  = relay.Unavailable
	conf = relay.Config
)

// rows is the error map of the design, written down a second time.
var rows = []struct {
	sig   signal
	kind  relay.Kind
	scope relay.Scope
	class string
	alive bool
}{
	{sigAck, ack, 0, "", false},
	{sigReturned, una, relay.ScopeKey, relay.ClassUnroutable, true},
	{sigReturnedQueue, una, relay.ScopeLane, relay.ClassUnroutable, true},
	{sigQueueMissing, conf, relay.ScopeTopic, relay.ClassUnroutable, false},
	{sigNack, unk, 0, relay.ClassNotReplicated, false},
	{sigNackFull, una, relay.ScopeTopic, relay.ClassThrottled, true},
	{sigBehindAcked, unk, 0, relay.ClassNotReplicated, false},
	{sigBehind, una, relay.ScopeKey, "", false},
	{sigCut, unk, 0, relay.ClassCut, false},
	{sigTimeout, unk, 0, relay.ClassTimeout, false},
	{sigAlarmed, unk, 0, relay.ClassThrottled, true},
	{sigBlocked, una, relay.ScopeDestination, relay.ClassThrottled, false},
	{sigDial, una, relay.ScopeDestination, relay.ClassUnreachable, false},
	{sigLost, una, relay.ScopeLane, relay.ClassUnreachable, false},
	{sigLate, una, relay.ScopeLane, relay.ClassTimeout, false},
	{sigChannels, una, relay.ScopeLane, relay.ClassThrottled, true},
	{sigUntrusted, una, relay.ScopeDestination, relay.ClassUnreachable, false},
	{sigClosed, una, relay.ScopeDestination, relay.ClassUnreachable, false},
	{sigNotOpen, una, relay.ScopeDestination, relay.ClassUnreachable, false},
	{sigLogin, conf, relay.ScopeDestination, relay.ClassAuth, false},
	{sigVhost, conf, relay.ScopeDestination, relay.ClassAuth, false},
	{sigOther, conf, relay.ScopeDestination, relay.ClassUnsafeBroker, false},
	{sigNoExchange, conf, relay.ScopeTopic, relay.ClassUnknownTopic, false},
	{sigDenied, conf, relay.ScopeTopic, relay.ClassDenied, false},
	{sigRefused, rej, 0, relay.ClassRefused, false},
	{sigTooLarge, rej, 0, relay.ClassTooLarge, false},
	{sigInvalid, rej, 0, relay.ClassInvalid, false},
}

func TestErrorMapRowByRow(t *testing.T) {
	seen := map[signal]bool{}
	for _, row := range rows {
		seen[row.sig] = true
		if _, listed := rules[row.sig]; !listed {
			t.Errorf("%s has no row", row.sig)
		}
		o := outcome(row.sig, "orders", "words of the broker")
		if o.Kind != row.kind || o.Scope != row.scope || o.Class != row.class || o.Alive != row.alive {
			t.Errorf("%s: %+v, want %+v", row.sig, o, row)
		}
		if o.Kind == relay.Acked {
			if o.Detail != "" || o.Code != "" {
				t.Errorf("%s: %+v", row.sig, o)
			}
			continue
		}
		if o.Code != "rabbitmq/"+string(row.sig) || !strings.Contains(o.Detail, `"orders"`) || !strings.HasSuffix(o.Detail, ": words of the broker") {
			t.Errorf("%s: %+v", row.sig, o)
		}
	}
	for s := range rules {
		if !seen[s] {
			t.Errorf("the map has a row for %s that this test does not know", s)
		}
	}
}

func TestUnlistedAnswerIsUnknown(t *testing.T) {
	if o := outcome("news", "t", ""); o.Kind != relay.Unknown || o.Class != relay.ClassInternal || o.Code != "rabbitmq/news" {
		t.Errorf("%+v", o)
	}
}

// A code speaks of a message only when it is one of these; whatever else ends a channel proves nothing.
func TestWhatTheEndOfAChannelMeans(t *testing.T) {
	for code := range 600 {
		want := map[int]signal{403: sigDenied, 404: sigNoExchange, 406: sigRefused}[code]
		if want == "" {
			want = sigCut
		}
		if got := closing(code); got != want {
			t.Errorf("%d: %s, want %s", code, got, want)
		}
	}
}
