package outboxtest_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/outbox"
	"github.com/waybillmq/waybill/outbox/outboxtest"
)

func TestMain(m *testing.M) { testservices.Main(m) }

// watched records what an assertion says instead of failing.
type watched struct {
	testing.TB
	said []string
}

func (w *watched) Errorf(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}
func (w *watched) Helper() {}

var due = time.Date(2031, 1, 1, 0, 0, 0, 1500, time.UTC)

var published = []outbox.Message{
	{Topic: "order.paid", Key: "o-1", Type: "paid", Headers: map[string]string{"a": "1", "b": "2"}, Payload: []byte(`{"order": "o-1", "cents": 12345678901234567890}`),
		ContentType: "application/json", MessageID: "m", DeliverAfter: due},
	{Topic: "cart", Key: "c", Tombstone: true},
}

func TestAssertPublished(t *testing.T) {
	tests := map[string]struct {
		want []outbox.Message
		says string // empty = passes
	}{
		"topics only":       {[]outbox.Message{{Topic: "order.paid"}, {Topic: "cart"}}, ""},
		"everything":        {published, ""},
		"json in any form":  {[]outbox.Message{{Topic: "order.paid", Payload: []byte(`{"cents":12345678901234567890,"order":"o-1"}`)}, {Topic: "cart"}}, ""},
		"too few":           {published[:1], "published 2 messages, want 1:\n  0: topic \"order.paid\" key \"o-1\""},
		"order":             {[]outbox.Message{{Topic: "cart"}, {Topic: "order.paid"}}, `message 0 differs: topic is "order.paid", want "cart"`},
		"key":               {[]outbox.Message{{Topic: "order.paid", Key: "o-2"}, {Topic: "cart"}}, `message 0 differs: key is "o-1", want "o-2"`},
		"header":            {[]outbox.Message{{Topic: "order.paid", Headers: map[string]string{"a": "2"}}, {Topic: "cart"}}, `header a is "1", want "2"`},
		"missing header":    {[]outbox.Message{{Topic: "order.paid", Headers: map[string]string{"c": ""}}, {Topic: "cart"}}, `header c is "", want ""`},
		"large numbers":     {[]outbox.Message{{Topic: "order.paid", Payload: []byte(`{"cents":12345678901234567891,"order":"o-1"}`)}, {Topic: "cart"}}, "payload is"},
		"no payload":        {[]outbox.Message{{Topic: "order.paid"}, {Topic: "cart", Payload: []byte{}}}, `message 1 differs: payload is "", want ""`},
		"tombstone":         {[]outbox.Message{{Topic: "order.paid", Tombstone: true}, {Topic: "cart"}}, "it has a payload, want a tombstone"},
		"time":              {[]outbox.Message{{Topic: "order.paid", DeliverAfter: due.Add(time.Second)}, {Topic: "cart"}}, "deliver after is"},
		"type, content, id": {[]outbox.Message{{Topic: "order.paid", Type: "x", ContentType: "y", MessageID: "z"}, {Topic: "cart"}}, "type is \"paid\", want \"x\"; content type is"},
	}
	for name, major := range map[string]int{"PostgreSQL 15": 15, "PostgreSQL 18": 18} {
		t.Run(name, func(t *testing.T) {
			tx, _ := transactions(t, major)
			_, txSQL := transactions(t, major) // of another outbox: the same keys would wait for each other
			if _, err := outbox.Publish(t.Context(), tx, published...); err != nil {
				t.Fatal(err)
			}
			if _, err := outbox.PublishSQL(t.Context(), txSQL, published...); err != nil {
				t.Fatal(err)
			}
			for name, test := range tests {
				for driver, assert := range map[string]func(testing.TB){
					"pgx": func(tb testing.TB) { outboxtest.AssertPublished(tb, tx, test.want...) },
					"sql": func(tb testing.TB) { outboxtest.AssertPublishedSQL(tb, txSQL, test.want...) },
				} {
					w := &watched{TB: t}
					assert(w)
					if said := strings.Join(w.said, "\n"); (said == "") != (test.says == "") || !strings.Contains(said, test.says) {
						t.Errorf("%s, %s: said %q, want %q", name, driver, said, test.says)
					}
				}
			}
		})
	}
}

// Only the own transaction counts: what others committed before or meanwhile does not, what was written under a savepoint does, unless it was rolled back.
func TestAssertSeesItsOwnTransaction(t *testing.T) {
	for name, major := range map[string]int{"PostgreSQL 15": 15, "PostgreSQL 18": 18} {
		t.Run(name, func(t *testing.T) {
			tx, txSQL := transactions(t, major)
			m := outbox.Message{Topic: "t", Payload: []byte("x")}
			outboxtest.AssertNone(t, tx)
			if _, err := outbox.PublishSQL(t.Context(), txSQL, m); err != nil {
				t.Fatal(err)
			}
			if err := txSQL.Commit(); err != nil {
				t.Fatal(err)
			}
			outboxtest.AssertNone(t, tx)
			for _, keep := range []bool{true, false} {
				nested, err := tx.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := outbox.Publish(t.Context(), nested, m); err != nil {
					t.Fatal(err)
				}
				if keep {
					err = nested.Commit(t.Context())
				} else {
					err = nested.Rollback(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			outboxtest.AssertPublished(t, tx, m)
			w := &watched{TB: t}
			outboxtest.AssertNone(w, tx)
			if len(w.said) != 1 {
				t.Errorf("AssertNone said %v", w.said)
			}
		})
	}
}

// transactions opens one transaction of each driver on a fresh outbox.
func transactions(t *testing.T, major int) (pgx.Tx, *sql.Tx) {
	t.Helper()
	url := testservices.Postgres(t, major).URL
	if _, err := migrations.Up(t.Context(), url, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	txSQL, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { txSQL.Rollback() })
	return tx, txSQL
}
