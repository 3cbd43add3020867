package outbox_test

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/outbox"
	"github.com/waybillmq/waybill/outbox/outboxtest"
)

// publisher is either way into the outbox, on an open transaction.
type publisher struct {
	publish   func(ctx context.Context, msgs ...outbox.Message) ([]string, error)
	published func(t *testing.T) []outbox.Message
}

// eachDriver runs the test through pgx and through database/sql, each on a fresh transaction that is rolled back.
func eachDriver(t *testing.T, url string, test func(t *testing.T, p publisher)) {
	t.Run("pgx", func(t *testing.T) {
		tx := begin(t, connect(t, url))
		test(t, publisher{
			publish: func(ctx context.Context, msgs ...outbox.Message) ([]string, error) {
				return outbox.Publish(ctx, tx, msgs...)
			},
			published: func(t *testing.T) []outbox.Message { return outboxtest.Published(t, tx) }})
	})
	t.Run("database/sql", func(t *testing.T) {
		tx := beginSQL(t, url)
		test(t, publisher{
			publish: func(ctx context.Context, msgs ...outbox.Message) ([]string, error) {
				return outbox.PublishSQL(ctx, tx, msgs...)
			},
			published: func(t *testing.T) []outbox.Message { return outboxtest.PublishedSQL(t, tx) }})
	})
}

// odd holds what escaping gets wrong.
const odd = `a "quoted" \back\slash {1,2} NULL, line` + "\n\t" + `'it''s' ü €`

var due = time.Date(2031, 2, 3, 4, 5, 6, 789123000, time.UTC)

// whole is written with every field, and read back as it is.
var whole = outbox.Message{Topic: "orders " + odd, Key: odd, Type: odd, Headers: map[string]string{"h": odd, "empty": ""}, Payload: []byte{0, 1, 255, '\\', '"', '{'},
	ContentType: "x/" + odd, MessageID: odd, DeliverAfter: due}

func TestMessagesArriveAsTheyWereGiven(t *testing.T) {
	plain := outbox.Message{Topic: "t", Payload: []byte{}, ContentType: "application/octet-stream"}
	gone := outbox.Message{Topic: "t", Key: "k", Headers: map[string]string{"why": "deleted"}, Tombstone: true}
	for name, msgs := range map[string][]outbox.Message{
		"one": {whole}, "one plain": {plain}, "one tombstone": {gone}, "many": {whole, plain, gone, {Topic: "t", Payload: []byte("x"), ContentType: "c", Unordered: true}},
	} {
		t.Run(name, func(t *testing.T) {
			eachServer(t, func(t *testing.T, url string) {
				eachDriver(t, url, func(t *testing.T, p publisher) {
					ids, err := p.publish(t.Context(), msgs...)
					if err != nil {
						t.Fatal(err)
					}
					got := p.published(t)
					if len(got) != len(msgs) || len(ids) != len(msgs) {
						t.Fatalf("%d messages and %d ids, want %d: %v", len(got), len(ids), len(msgs), ids)
					}
					for i, want := range msgs {
						want.Unordered = false
						got[i].DeliverAfter = got[i].DeliverAfter.UTC()
						if !reflect.DeepEqual(got[i], want) && !(got[i].DeliverAfter.IsZero() && want.DeliverAfter.IsZero() && equal(got[i], want)) {
							t.Errorf("message %d:\n got %#v\nwant %#v", i, got[i], want)
						}
						if want.MessageID != "" && ids[i] != want.MessageID {
							t.Errorf("message id %q, want the given one", ids[i])
						}
					}
				})
			})
		})
	}
}

// equal compares without the time, whose zero has no place in reflect.DeepEqual after UTC().
func equal(a, b outbox.Message) bool {
	a.DeliverAfter, b.DeliverAfter = time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

func TestPublishNothing(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		eachDriver(t, url, func(t *testing.T, p publisher) {
			if ids, err := p.publish(t.Context()); err != nil || ids != nil {
				t.Fatalf("ids %v, error %v", ids, err)
			}
		})
	})
}

func TestRefusals(t *testing.T) {
	ok := outbox.Message{Topic: "t", Payload: []byte("x")}
	change := func(f func(*outbox.Message)) outbox.Message { m := ok; f(&m); return m }
	tests := map[string]struct {
		msg  outbox.Message
		want error
		code string
	}{
		"empty topic":         {change(func(m *outbox.Message) { m.Topic = "" }), outbox.ErrLength, "OB001"},
		"long topic":          {change(func(m *outbox.Message) { m.Topic = strings.Repeat("t", 300) }), outbox.ErrLength, "OB001"},
		"long key":            {change(func(m *outbox.Message) { m.Key = strings.Repeat("ü", 513) }), outbox.ErrLength, "OB001"},
		"long message id":     {change(func(m *outbox.Message) { m.MessageID = strings.Repeat("i", 257) }), outbox.ErrLength, "OB001"},
		"too late":            {change(func(m *outbox.Message) { m.DeliverAfter = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), outbox.ErrLength, "OB001"},
		"too early":           {change(func(m *outbox.Message) { m.DeliverAfter = time.Date(-3, 5, 5, 0, 0, 0, 0, time.UTC) }), outbox.ErrLength, "OB001"},
		"null payload":        {change(func(m *outbox.Message) { m.Payload = nil }), outbox.ErrNullPayload, "OB002"},
		"full tombstone":      {change(func(m *outbox.Message) { m.Tombstone = true }), outbox.ErrNullPayload, "OB002"},
		"our header":          {change(func(m *outbox.Message) { m.Headers = map[string]string{"Waybill-id": "1"} }), outbox.ErrHeaders, "OB003"},
		"header without name": {change(func(m *outbox.Message) { m.Headers = map[string]string{"": "1"} }), outbox.ErrHeaders, "OB003"},
		"too large":           {change(func(m *outbox.Message) { m.Payload = make([]byte, 1000001) }), outbox.ErrTooLarge, "OB004"},
	}
	eachServer(t, func(t *testing.T, url string) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				for kind, msgs := range map[string][]outbox.Message{"one": {test.msg}, "in a batch": {ok, test.msg}} {
					t.Run(kind, func(t *testing.T) {
						eachDriver(t, url, func(t *testing.T, p publisher) {
							_, err := p.publish(t.Context(), msgs...)
							var pg *pgconn.PgError
							if !errors.Is(err, test.want) || !errors.As(err, &pg) || pg.Code != test.code {
								t.Fatalf("error %v, want %v", err, test.want)
							}
							if kind == "in a batch" && !strings.Contains(err.Error(), "element 2:") {
								t.Errorf("error %q does not name the element", err)
							}
						})
					})
				}
			})
		}
	})
}

func TestMessageIDUsedForAnother(t *testing.T) {
	first := outbox.Message{Topic: "t", Key: "k", Payload: []byte("x"), MessageID: "m"}
	other := first
	other.Payload = []byte("y")
	eachServer(t, func(t *testing.T, url string) {
		eachDriver(t, url, func(t *testing.T, p publisher) {
			for range 2 { // the repeat is accepted and writes nothing
				if ids, err := p.publish(t.Context(), first); err != nil || ids[0] != "m" {
					t.Fatalf("ids %v, error %v", ids, err)
				}
			}
			if n := len(p.published(t)); n != 1 {
				t.Fatalf("%d messages, want 1", n)
			}
			if _, err := p.publish(t.Context(), other); !errors.Is(err, outbox.ErrMessageIDUsed) {
				t.Fatalf("error %v, want ErrMessageIDUsed", err)
			}
		})
	})
}

func TestTooManyUnsent(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		if _, err := connect(t, url).Exec(t.Context(), "SELECT setval('outbox.ceiling', 0)"); err != nil {
			t.Fatal(err)
		}
		eachDriver(t, url, func(t *testing.T, p publisher) {
			if _, err := p.publish(t.Context(), outbox.Message{Topic: "t", Payload: []byte("x")}); !errors.Is(err, outbox.ErrTooManyUnsent) {
				t.Fatalf("error %v, want ErrTooManyUnsent", err)
			}
		})
	})
}

func TestTraceContext(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	const own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ctx := outbox.WithTraceContext(t.Context(), parent, "a=b")
	headers := map[string]string{"h": "v"}
	msgs := []outbox.Message{
		{Topic: "t", Payload: []byte("x")}, {Topic: "t", Payload: []byte("x"), Headers: headers},
		{Topic: "t", Payload: []byte("x"), Headers: map[string]string{"traceparent": own, "tracestate": "c=d"}},
	}
	want := []map[string]string{{"traceparent": parent, "tracestate": "a=b"}, {"traceparent": parent, "tracestate": "a=b", "h": "v"},
		{"traceparent": own, "tracestate": "c=d"}}
	eachServer(t, func(t *testing.T, url string) {
		eachDriver(t, url, func(t *testing.T, p publisher) {
			for _, m := range msgs {
				if _, err := p.publish(ctx, m); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := p.publish(ctx, msgs...); err != nil {
				t.Fatal(err)
			}
			for i, m := range p.published(t) {
				if !maps.Equal(m.Headers, want[i%3]) {
					t.Errorf("message %d has headers %v, want %v", i, m.Headers, want[i%3])
				}
			}
		})
	})
	if len(headers) != 1 {
		t.Errorf("the caller's headers were changed: %v", headers)
	}
}

func TestAnotherSchema(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		if _, err := migrations.Up(t.Context(), url, migrations.Options{Schema: "orders_2"}); err != nil {
			t.Fatal(err)
		}
		ctx := outbox.WithSchema(t.Context(), "orders_2")
		conn := connect(t, url)
		if err := outbox.Check(ctx, conn); err != nil {
			t.Fatal(err)
		}
		tx := begin(t, conn)
		if _, err := outbox.Publish(ctx, tx, outbox.Message{Topic: "t", Key: "k", Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		outboxtest.AssertNone(t, tx)
		outboxtest.AssertPublished(outboxtest.WithSchema(t, "orders_2"), tx, outbox.Message{Topic: "t", Key: "k"})

		for _, bad := range []string{"", "Orders", "pg_x", "a;b", `a"b`, "1a", strings.Repeat("a", 41)} {
			if _, err := outbox.Publish(outbox.WithSchema(ctx, bad), tx, whole); err == nil || !strings.Contains(err.Error(), "schema") {
				t.Errorf("schema %q: error %v", bad, err)
			}
		}
	})
}
