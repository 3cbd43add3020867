package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	mqerrors "github.com/apache/rocketmq-client-go/v2/errors"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/waybillmq/waybill/relay"
)

const (
	ack  = relay.Acked
	rej  = relay.Rejected
	unk  = relay.Unknown
	una  = relay.Unavailable
	conf = relay.Config
)

// rows is the error map of the design, written down a second time: what each signal is on a first try, and for a message whose earlier try may be stored.
var rows = []struct {
	sig           signal
	first, unsure relay.Kind
	scope         relay.Scope
	class         string
	alive         bool
}{
	{0, ack, ack, 0, "", false},
	{10, unk, unk, 0, relay.ClassNotReplicated, true},
	{11, unk, unk, 0, relay.ClassNotReplicated, true},
	{12, unk, unk, 0, relay.ClassNotReplicated, true},
	{1, unk, unk, 0, relay.ClassInternal, false},
	{2, unk, unk, 0, relay.ClassThrottled, true},
	{14, unk, unk, 0, relay.ClassUnreachable, true},
	{215, unk, unk, 0, relay.ClassThrottled, true},
	{13, rej, rej, 0, relay.ClassTooLarge, false},
	{3, conf, conf, relay.ScopeTopic, relay.ClassUnsafeBroker, false},
	{15, conf, conf, relay.ScopeTopic, relay.ClassDenied, false},
	{16, conf, conf, relay.ScopeTopic, relay.ClassDenied, false},
	{17, conf, conf, relay.ScopeTopic, relay.ClassUnknownTopic, false},
	{sigDenied, conf, conf, relay.ScopeTopic, relay.ClassDenied, false},
	{sigLogin, conf, conf, relay.ScopeDestination, relay.ClassAuth, false},
	{sigDial, una, unk, relay.ScopeLane, relay.ClassUnreachable, false},
	{sigNoRoute, una, unk, relay.ScopeLane, relay.ClassUnreachable, false},
	{sigNoTopic, una, unk, relay.ScopeLane, relay.ClassUnknownTopic, false},
	{sigGone, conf, conf, relay.ScopeTopic, relay.ClassUnknownTopic, false},
	{sigUntrusted, una, unk, relay.ScopeDestination, relay.ClassUnreachable, false},
	{sigLate, una, unk, relay.ScopeLane, relay.ClassTimeout, false},
	{sigBusy, una, unk, relay.ScopeLane, relay.ClassTimeout, false},
	{sigClosed, una, unk, relay.ScopeLane, relay.ClassUnreachable, false},
	{sigNoLogin, conf, conf, relay.ScopeDestination, relay.ClassAuth, false},
	{sigNoClient, una, unk, relay.ScopeDestination, relay.ClassUnreachable, false},
	{sigKeyed, conf, conf, relay.ScopeTopic, relay.ClassInvalid, false},
	{sigCommit, unk, unk, 0, relay.ClassCut, false},
	{sigCut, unk, unk, 0, relay.ClassCut, false},
	{sigTimeout, unk, unk, 0, relay.ClassTimeout, false},
	{sigPanic, unk, unk, 0, relay.ClassInternal, false},
	{sigOdd, unk, unk, 0, relay.ClassInternal, false},
}

// TestOutcome walks the error map row by row.
func TestOutcome(t *testing.T) {
	seen := map[signal]bool{}
	for _, row := range rows {
		seen[row.sig] = true
		r, listed := decide(row.sig, false)
		if !listed || r.kind != row.first || r.scope != row.scope || r.class != row.class {
			t.Errorf("%s: %v/%v %s listed=%v, want %v/%v %s", row.sig.name(), r.kind, r.scope, r.class, listed, row.first, row.scope, row.class)
		}
		o := r.outcome(row.sig, "orders", "words of the broker")
		if o.Alive != row.alive || o.Earlier {
			t.Errorf("%s: %+v", row.sig.name(), o)
		}
		r, _ = decide(row.sig, true)
		if o := r.outcome(row.sig, "orders", ""); r.kind != row.unsure || o.Earlier != (row.first == una) {
			t.Errorf("%s for a message that may be stored: %+v, want %v", row.sig.name(), o, row.unsure)
		}
		if row.first == ack {
			continue
		}
		if o.Code != "rocketmq/"+r.name || !strings.Contains(o.Detail, `"orders"`) || !strings.HasSuffix(o.Detail, ": words of the broker") {
			t.Errorf("%s: %+v", row.sig.name(), o)
		}
	}
	for s := range rules {
		if !seen[s] {
			t.Errorf("the map has a row for %s that this test does not know", s.name())
		}
	}
	if r, listed := decide(4711, false); listed || r.kind != unk || r.outcome(4711, "t", "").Code != "rocketmq/CODE_4711" {
		t.Errorf("an unlisted answer: %+v, %v", r, listed)
	}
}

// TestWhatTheLibraryReturns: every way in which SendSync can end, and that a text is read in one place only.
func TestWhatTheLibraryReturns(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, row := range []struct {
		err             error
		left, untrusted bool
		want            signal
	}{
		{mqerrors.ErrNotRunning, false, false, sigClosed},
		{mqerrors.ErrService, true, false, sigClosed},
		{fmt.Errorf("the topic=%s route info not found", "t"), false, false, sigNoRoute},
		{fmt.Errorf("topic=%s route info not found", "t"), true, false, sigNoRoute},
		{fmt.Errorf("the topic=%s route info not found", "t"), false, true, sigUntrusted},
		{errors.New("something before the queue was asked for"), false, false, sigNoRoute},
		{mqerrors.ErrRequestTimeout, true, false, sigTimeout},
		{dial, true, false, sigDial},
		{&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, true, false, sigDial},
		{&net.OpError{Op: "write", Err: syscall.EPIPE}, true, false, sigCut},
		{io.EOF, true, false, sigOdd},
		{errors.New("CODE: 13, DESC: the message is illegal"), true, false, 13},
		{errors.New("CODE: 1, DESC: java.lang.RuntimeException"), true, false, 1},
		{errors.New("CODE: 1, DESC: org.apache.rocketmq.acl.common.AclException: Check signature failed for accessKey=x"), true, false, sigLogin},
		{errors.New("CODE: 1, DESC: org.apache.rocketmq.acl.common.AclException: No default permission for t"), true, false, sigDenied},
		{errors.New("CODE: 4711, DESC: "), true, false, 4711},
		{errors.New("CODE: 0, DESC: "), true, false, sigOdd},
		{errors.New("CODE: x"), true, false, sigOdd},
	} {
		if a := read(nil, row.err, row.left, row.untrusted); a.sig != row.want {
			t.Errorf("%v: %s, want %s", row.err, a.sig.name(), row.want.name())
		}
	}
	for status, want := range map[primitive.SendStatus]signal{primitive.SendOK: 0, primitive.SendFlushDiskTimeout: 10, primitive.SendFlushSlaveTimeout: 12,
		primitive.SendSlaveNotAvailable: 11, primitive.SendUnknownError: sigOdd} {
		if a := read(&primitive.SendResult{Status: status, QueueOffset: 5}, nil, true, false); a.sig != want {
			t.Errorf("status %d: %s, want %s", status, a.sig.name(), want.name())
		}
	}
	a := read(nil, errors.New("CODE: 1, DESC: org.apache.rocketmq.acl.common.AclException: Check signature failed for accessKey=ours"), true, false)
	if o := rules[a.sig].outcome(a.sig, "t", a.detail); strings.Contains(o.Detail, "ours") {
		t.Errorf("an access key in an error text: %s", o.Detail)
	}
	for _, err := range []error{mqerrors.ErrMessageEmpty, mqerrors.ErrTopicEmpty, mqerrors.ErrMultipleTopics} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v: a broken invariant passed", err)
				}
			}()
			read(nil, err, false, false)
		}()
	}
}
