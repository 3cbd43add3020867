package postgres

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

func (d *desk) auditor(t *testing.T) *Auditor {
	t.Helper()
	a, err := OpenAuditor(Config{URL: d.url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// The three sides are read as they are: what became of each row, the receipts that name an id of the range wherever they lie, and ids that a person let pass.
func TestAuditorReads(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	a := d.auditor(t)
	if lo, hi, err := a.Bounds(t.Context(), time.Hour); lo != 1 || hi != 0 || err != nil {
		t.Errorf("young ones: %d to %d, %v", lo, hi, err)
	}
	d.exec(t, `UPDATE outbox.message_log SET created_at = now() - interval '2 h' WHERE id < 8`)
	if lo, hi, err := a.Bounds(t.Context(), time.Hour); lo != 1 || hi != 7 || err != nil {
		t.Errorf("%d to %d, %v", lo, hi, err)
	}
	g, err := a.Generations(t.Context())
	if err != nil || len(g) != 1 {
		t.Fatalf("%v, %v", g, err)
	}
	var waits, discarded, tried []relay.ID
	last, err := a.Rows(t.Context(), g, 0, 8, 200, func(r *AuditRow) {
		for list, is := range map[*[]relay.ID]bool{&waits: r.Waits, &discarded: r.Discarded, &tried: r.Tried} {
			if is {
				*list = append(*list, r.ID)
			}
		}
		if want := map[bool]string{true: "own-7", false: g[0].UUID + "-" + r.ID.String()}[r.ID == 7]; r.MessageID != want || string(r.Payload) != "canary" || len(r.Headers) != 1 || r.Headers[0].Value != "canary" || r.Size != 6 {
			t.Errorf("%+v", r)
		}
	})
	if err != nil || last != 8 || !slices.Equal(waits, []relay.ID{2, 3, 4, 5, 6, 7}) || !slices.Equal(discarded, []relay.ID{8}) {
		t.Errorf("%d, %v: wait %v, discarded %v, tried %v", last, err, waits, discarded, tried)
	}
	d.exec(t, `INSERT INTO outbox.message_log (topic) SELECT 't' FROM generate_series(1, 450)`)
	n := 0
	for after := relay.ID(0); after < 458; n++ {
		if after, err = a.Rows(t.Context(), g, after, 458, 200, func(*AuditRow) {}); err != nil {
			t.Fatal(err)
		}
	}
	if n != 3 {
		t.Errorf("458 rows came in %d pages", n)
	}

	d.exec(t, `INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, first_offset, acked_at, ids) VALUES
		(60000, 5, 2, 7, 2, 'kafka-a', 't/0', NULL, now(), '\x05dbd403'), (4, 4, 1, 7, 3, 'kafka-b', 't/1', 9, now(), '\x04'), (9, 9, 1, 7, 4, 'kafka-b', 't/1', 10, now(), '\x09')`)
	d.exec(t, `INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, first_offset, acked_at, ids) SELECT 5, 5, 1, 8, i, 'kafka-a', 't/0', i, now(), '\x05' FROM generate_series(1, 2500) AS i`)
	var got []string
	paced := 0
	if err := a.Receipts(t.Context(), 2, 8, func(r AuditReceipt) {
		if r.Offset < 11 && (r.Lane == "t/1" || len(r.IDs) > 1) {
			got = append(got, r.Destination+" "+r.Lane+" "+r.IDs[0].String())
		}
		n++
	}, func() { paced++ }); err != nil || !slices.Equal(got, []string{"kafka-b t/1 4", "kafka-a t/0 5"}) || paced != 1 || n != 3+2502 {
		t.Errorf("%q, %d receipts, %d rests, %v", got, n-3, paced, err)
	}
	if _, err := d.operator.Skip(t.Context(), []relay.ID{3}, relay.Act{Actor: "a", Via: "cli", Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	if passed, err := a.Passed(t.Context(), 2, 8); err != nil || !passed[3] || passed[4] {
		t.Errorf("%v, %v", passed, err)
	}
}

// A run is written down before it begins and when it has ended; of one outbox one runs at a time, whoever asks, until its relay is taken for gone.
func TestAuditorRuns(t *testing.T) {
	d := newDesk(t, 18)
	a, other := d.auditor(t), d.auditor(t)
	act := relay.Act{Actor: "ui:ana", Via: "ui", Reason: "monthly", Address: "127.0.0.1"}
	type answer struct {
		id  int64
		err error
	}
	answers := make(chan answer, 2)
	for _, a := range []*Auditor{a, other} {
		go func() {
			id, _, err := a.Begin(t.Context(), 1, 9, time.Minute, act)
			answers <- answer{id, err}
		}()
	}
	first, second := <-answers, <-answers
	if first.err != nil {
		first, second = second, first
	}
	var state *relay.StateError
	if first.err != nil || !errors.As(second.err, &state) {
		t.Fatalf("two at once: %v and %v", first, second)
	}
	rows, err := d.inspector.Activity(t.Context(), 0, 5)
	if err != nil || len(rows) != 1 || rows[0].ID != first.id || rows[0].Action != "audit" || rows[0].Actor != act.Actor || rows[0].Reason != act.Reason || rows[0].Target != "ids 1 to 9" {
		t.Fatalf("%+v, %v", rows, err)
	}
	if all, err := a.Ended(t.Context(), 9); err != nil || len(all) != 0 {
		t.Errorf("%s, %v", all, err)
	}
	whole, err := json.Marshal(map[string]any{"id": "1", "n": 7})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.End(t.Context(), 1, 9, act, "clean: 7", whole); err != nil {
		t.Fatal(err)
	}
	all, err := other.Ended(t.Context(), 9)
	if err != nil || len(all) != 1 || !strings.Contains(string(all[0]), `"n": 7`) {
		t.Errorf("%s, %v", all, err)
	}
	if _, _, err := other.Begin(t.Context(), 1, 9, time.Minute, act); err != nil {
		t.Errorf("after the end: %v", err)
	}
	if _, _, err := a.Begin(t.Context(), 1, 9, time.Minute, act); !errors.As(err, &state) {
		t.Errorf("while the next one runs: %v", err)
	}
	if _, _, err := a.Begin(t.Context(), 1, 9, 0, act); err != nil {
		t.Errorf("after a relay that has gone: %v", err)
	}
}
