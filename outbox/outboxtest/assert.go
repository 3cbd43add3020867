package outboxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/outbox"
)

// AssertPublished fails the test unless the open transaction tx has published exactly these messages, in this order. Topic is always compared, every other
// field only when it is set in want, so that a test names what it cares about: payloads that are both JSON are equal when they mean the same, times when
// they are the same microsecond, and of the headers those that want names must be there. A nil Payload without Tombstone means any payload.
func AssertPublished[R outbox.Row](tb testing.TB, tx outbox.Tx[R], want ...outbox.Message) {
	tb.Helper()
	assert(tb, Published(tb, tx), want)
}

// AssertPublishedSQL is AssertPublished for database/sql.
func AssertPublishedSQL(tb testing.TB, tx outbox.SQLTx, want ...outbox.Message) {
	tb.Helper()
	assert(tb, PublishedSQL(tb, tx), want)
}

// AssertNone fails the test when the open transaction tx has published anything.
func AssertNone[R outbox.Row](tb testing.TB, tx outbox.Tx[R]) {
	tb.Helper()
	assert(tb, Published(tb, tx), nil)
}

// AssertNoneSQL is AssertNone for database/sql.
func AssertNoneSQL(tb testing.TB, tx outbox.SQLTx) {
	tb.Helper()
	assert(tb, PublishedSQL(tb, tx), nil)
}

func assert(tb testing.TB, got, want []outbox.Message) {
	tb.Helper()
	if len(got) != len(want) {
		tb.Errorf("outboxtest: the transaction published %d messages, want %d:%s", len(got), len(want), list(got))
		return
	}
	for i := range want {
		if d := differences(got[i], want[i]); len(d) > 0 {
			tb.Errorf("outboxtest: message %d differs: %s", i, strings.Join(d, "; "))
		}
	}
}

func list(msgs []outbox.Message) string {
	var b strings.Builder
	for i, m := range msgs {
		fmt.Fprintf(&b, "\n  %d: topic %q key %q type %q payload %.200q", i, m.Topic, m.Key, m.Type, m.Payload)
	}
	return b.String()
}

// differences names the fields of want that got does not have.
func differences(got, want outbox.Message) []string {
	var d []string
	differ := func(field string, got, want any) {
		d = append(d, fmt.Sprintf("%s is %.200q, want %.200q", field, got, want))
	}
	text := func(field, got, want string) {
		if want != "" && got != want {
			differ(field, got, want)
		}
	}
	if got.Topic != want.Topic {
		differ("topic", got.Topic, want.Topic)
	}
	text("key", got.Key, want.Key)
	text("type", got.Type, want.Type)
	text("content type", got.ContentType, want.ContentType)
	text("message id", got.MessageID, want.MessageID)
	for _, name := range slices.Sorted(maps.Keys(want.Headers)) {
		v := want.Headers[name]
		if g, ok := got.Headers[name]; !ok || g != v {
			differ("header "+name, g, v)
		}
	}
	if want.Tombstone && !got.Tombstone {
		d = append(d, "it has a payload, want a tombstone")
	}
	if want.Payload != nil && (got.Tombstone || !samePayload(got.Payload, want.Payload)) {
		differ("payload", got.Payload, want.Payload)
	}
	if !want.DeliverAfter.IsZero() && !got.DeliverAfter.Equal(want.DeliverAfter.Truncate(time.Microsecond)) {
		differ("deliver after", got.DeliverAfter.UTC().String(), want.DeliverAfter.UTC().String())
	}
	return d
}

func samePayload(got, want []byte) bool {
	if bytes.Equal(got, want) {
		return true
	}
	g, okGot := decodeJSON(got)
	w, okWant := decodeJSON(want)
	return okGot && okWant && reflect.DeepEqual(g, w)
}

// decodeJSON keeps numbers as they are written.
func decodeJSON(text []byte) (v any, ok bool) {
	if !json.Valid(text) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v) == nil
}
