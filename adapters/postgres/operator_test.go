package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

func TestOperator(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	ctx := t.Context()
	act := relay.Act{Actor: "cli:ana@host", Via: "cli", Reason: "limit raised"}
	got, err := d.operator.Retry(ctx, []relay.ID{3, 4, 99, 8}, act)
	if err != nil || got.Requested != 4 || got.Changed != 2 || got.Other != 1 || got.Missing != 1 || !slices.Equal(got.Unchanged, []relay.ID{4, 99}) || got.Activity == 0 {
		t.Fatalf("%+v, %v", got, err)
	}
	if m, err := d.inspector.Message(ctx, 3); err != nil || m.Detail != string(relay.Retrying) || m.Attempts != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := d.operator.Discard(ctx, []relay.ID{3}, relay.Act{Actor: "cli:ana@host", Via: "cli"}); err == nil {
		t.Error("a discard without a reason was taken")
	}
	if _, err := d.operator.Skip(ctx, make([]relay.ID, 501), act); err == nil {
		t.Error("501 messages in one act")
	}
}

func TestOperatorBusy(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	d.exec(t, `BEGIN`)
	d.exec(t, `SELECT FROM outbox.message_held WHERE id = 3 FOR UPDATE`)
	start := time.Now()
	_, err := d.operator.Skip(t.Context(), []relay.ID{3}, relay.Act{Actor: "a", Via: "cli"})
	if !errors.Is(err, relay.ErrBusy) || time.Since(start) > actLimit+time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	d.exec(t, `ROLLBACK`)
	if got, err := d.operator.Skip(t.Context(), []relay.ID{3}, relay.Act{Actor: "a", Via: "cli"}); err != nil || got.Changed != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// The relay holds a lower message of the key as its head in the very moment in which a person retries the dead one: the act waits, finds the new head when
// it tries again, and the retried message takes its place behind it.
func TestRetryRacesWithAnotherHead(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			d := newDesk(t, major)
			d.exec(t, `INSERT INTO outbox.message_log (topic, key) SELECT 't', 'k' FROM generate_series(1, 2)`)
			d.exec(t, `INSERT INTO outbox.message_held (id, state, topic, key, attempts) VALUES (2, 'dead', 't', 'k', 3)`)
			relays, err := pgx.Connect(t.Context(), d.url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { relays.Close(context.Background()) })
			for _, sql := range []string{`BEGIN`, `INSERT INTO outbox.message_held (id, state, topic, key, due_at) VALUES (1, 'retrying', 't', 'k', now())`} {
				if _, err := relays.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			type answer struct {
				relay.Acted
				err error
			}
			done := make(chan answer, 1)
			go func() {
				got, err := d.operator.Retry(t.Context(), []relay.ID{2}, relay.Act{Actor: "a", Via: "cli"})
				done <- answer{got, err}
			}()
			for end := time.Now().Add(10 * time.Second); ; { // until the act waits for the other transaction
				var waits bool
				if err := d.conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))`, relays.PgConn().PID()).Scan(&waits); err != nil {
					t.Fatal(err)
				}
				if waits {
					break
				}
				if time.Now().After(end) {
					t.Fatal("the act never met the other transaction")
				}
			}
			if _, err := relays.Exec(t.Context(), `COMMIT`); err != nil {
				t.Fatal(err)
			}
			got := <-done
			if got.err != nil || got.Changed != 1 {
				t.Fatalf("%+v, %v", got.Acted, got.err)
			}
			m, err := d.inspector.Message(t.Context(), 2)
			if err != nil || m.Detail != string(relay.Blocked) || m.Head != 1 {
				t.Errorf("%+v, %v", m, err)
			}
		})
	}
}
