package kafka

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/waybillmq/waybill/relay"
)

const (
	ack  = relay.Acked
	rej  = relay.Rejected
	unk  = relay.Unknown
	una  = relay.Unavailable
	conf = relay.Config
)

// rows is the error map of the design, written down a second time: what each signal is on a first try, on a batch whose earlier try may be stored, and what
// becomes of the sequence numbers.
var rows = []struct {
	sig           signal
	first, unsure relay.Kind
	scope         relay.Scope
	free, over    bool // first try: the sequence numbers are free again; the session is over
	overUnsure    bool // the same on a batch that may be stored
}{
	{0, ack, ack, 0, false, false, false},
	{46, ack, ack, 0, false, false, false},
	{sigDial, una, unk, relay.ScopeLane, true, false, false},
	{sigNoLeader, una, unk, relay.ScopeLane, true, false, false},
	{sigNoTopic, una, unk, relay.ScopeLane, true, false, false},
	{sigNoPart, una, unk, relay.ScopeLane, true, false, false},
	{sigGone, conf, conf, relay.ScopeTopic, true, false, false},
	{sigUntrusted, una, unk, relay.ScopeDestination, true, false, false},
	{sigLate, una, unk, relay.ScopeLane, true, false, false},
	{sigNoSession, una, unk, relay.ScopeLane, true, false, false},
	{3, una, unk, relay.ScopeLane, false, false, false},
	{5, unk, unk, 0, false, false, false},
	{6, unk, unk, 0, false, false, false},
	{8, unk, unk, 0, false, false, false},
	{72, unk, unk, 0, false, false, false},
	{74, unk, unk, 0, false, false, false},
	{100, unk, unk, 0, false, false, false},
	{19, una, unk, relay.ScopeLane, true, false, false},
	{89, una, unk, relay.ScopeLane, true, false, false},
	{7, unk, unk, 0, false, false, false},
	{13, unk, unk, 0, false, false, false},
	{20, unk, unk, 0, false, false, false},
	{56, unk, unk, 0, false, false, false},
	{-1, unk, unk, 0, false, false, false},
	{sigCut, unk, unk, 0, false, false, false},
	{sigTimeout, unk, unk, 0, false, false, false},
	{sigNoAnswer, unk, unk, 0, false, false, false},
	{2, unk, unk, 0, false, false, false},
	{45, unk, unk, 0, false, true, true},
	{47, unk, unk, 0, false, true, true},
	{59, unk, unk, 0, false, true, true},
	{32, conf, unk, relay.ScopeTopic, true, false, true},
	{10, rej, unk, 0, true, false, true},
	{18, rej, unk, 0, true, false, true},
	{43, rej, unk, 0, true, false, true},
	{87, rej, unk, 0, true, false, true},
	{29, conf, conf, relay.ScopeTopic, true, false, false},
	{17, conf, conf, relay.ScopeTopic, true, false, false},
	{21, conf, conf, relay.ScopeDestination, true, false, false},
	{31, conf, conf, relay.ScopeDestination, true, false, false},
	{35, conf, conf, relay.ScopeDestination, true, false, false},
	{38, conf, conf, relay.ScopeDestination, true, false, false},
	{53, conf, conf, relay.ScopeDestination, true, false, false},
	{58, conf, conf, relay.ScopeDestination, true, false, false},
	{76, conf, conf, relay.ScopeDestination, true, false, false},
	{33, conf, conf, relay.ScopeDestination, true, false, false},
	{34, conf, conf, relay.ScopeDestination, true, false, false},
	{sigWantsTLS, conf, conf, relay.ScopeLane, true, false, false},
	{sigNoTLS, conf, conf, relay.ScopeLane, true, false, false},
	{sigCertificate, conf, conf, relay.ScopeLane, true, false, false},
	{sigAlert, conf, conf, relay.ScopeLane, true, false, false},
	{sigWantsLogin, conf, conf, relay.ScopeDestination, true, false, false},
	{sigCredentials, conf, conf, relay.ScopeDestination, true, false, false},
	{sigCluster, conf, conf, relay.ScopeDestination, true, false, false},
}

func TestErrorMapRowByRow(t *testing.T) {
	seen := map[signal]bool{}
	for _, row := range rows {
		seen[row.sig] = true
		r, listed := decide(row.sig, false, false, 1)
		if !listed || r.kind != row.first || r.scope != row.scope {
			t.Errorf("%s: %v/%v listed=%v, want %v/%v", row.sig.name(), r.kind, r.scope, listed, row.first, row.scope)
		}
		if free, over := r.do&refused != 0, r.do&lapse != 0; free != row.free || over != row.over {
			t.Errorf("%s: free %v over %v, want %v %v", row.sig.name(), free, over, row.free, row.over)
		}
		r, _ = decide(row.sig, true, true, 1)
		if r.kind != row.unsure || r.do&refused != 0 || (r.do&lapse != 0) != row.overUnsure {
			t.Errorf("%s on a batch that may be stored: %v do=%b, want %v", row.sig.name(), r.kind, r.do, row.unsure)
		}
		if row.sig < 1000 && row.sig != 0 {
			if want := kerr.TypedErrorForCode(int16(row.sig)); want == nil || want.Message != r.name && row.sig != 6 { // 6 was renamed by Kafka 2.4
				t.Errorf("code %d is called %q, Kafka calls it %v", row.sig, r.name, want)
			}
		}
		o := r.outcome(row.sig, "orders", "words of the broker")
		if r.kind == relay.Acked {
			if o.Class != "" || o.Detail != "" {
				t.Errorf("%s: %+v", row.sig.name(), o)
			}
			continue
		}
		if o.Class == "" || o.Code != "kafka/"+r.name || !strings.Contains(o.Detail, `"orders"`) || !strings.HasSuffix(o.Detail, ": words of the broker") {
			t.Errorf("%s: %+v", row.sig.name(), o)
		}
	}
	for s := range rules {
		if !seen[s] {
			t.Errorf("the map has a row for %s that this test does not know", s.name())
		}
	}
}

// A leader that moves, or too few replicas, is no outage of the broker: exactly these answers leave the other lanes alone.
func TestAnswersOfALivingBroker(t *testing.T) {
	living := map[signal]bool{sigNoLeader: true, sigNoPart: true, 5: true, 6: true, 19: true, 20: true, 56: true, 72: true, 74: true, 100: true}
	for s := range rules {
		for _, unsure := range []bool{false, true} {
			r, _ := decide(s, unsure, unsure, 1)
			if o := r.outcome(s, "orders", ""); o.Alive != living[s] || o.Alive && o.Kind != relay.Unknown && o.Scope != relay.ScopeLane {
				t.Errorf("%s: %+v", s.name(), o)
			}
		}
	}
}

func TestUnlistedAnswerIsUnknown(t *testing.T) {
	r, listed := decide(4711, false, false, 0)
	if listed || r.kind != relay.Unknown || r.do&(refused|lapse) != 0 {
		t.Errorf("%+v listed=%v", r, listed)
	}
	if o := r.outcome(4711, "t", ""); o.Code != "kafka/ERROR_4711" || o.Class != relay.ClassInternal {
		t.Errorf("%+v", o)
	}
}

func TestThirdDamageIsNoAccident(t *testing.T) {
	for n, want := range map[int]relay.Kind{1: relay.Unknown, 2: relay.Unknown, 3: relay.Unavailable} {
		if r, _ := decide(2, true, false, n); r.kind != want {
			t.Errorf("damage %d: %v, want %v", n, r.kind, want)
		}
	}
}

// TestSentButSure: an earlier try went out and was answered by code 3; nothing is stored, but its sequence numbers stay bound to its bytes.
func TestSentButSure(t *testing.T) {
	if r, _ := decide(sigDial, true, false, 0); r.kind != relay.Unavailable || r.do&refused != 0 {
		t.Errorf("dial: %v do=%b", r.kind, r.do)
	}
	if r, _ := decide(10, true, false, 0); r.kind != relay.Unknown || r.do&lapse == 0 || r.do&split != 0 {
		t.Errorf("too large: %v do=%b", r.kind, r.do)
	}
}
