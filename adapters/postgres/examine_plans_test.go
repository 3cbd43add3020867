package postgres

import (
	"slices"
	"strings"
	"testing"
)

// Each statement of the relay is explained as it is planned for any arguments; without an index its table is read whole, and that is seen. Nothing is run.
func TestExaminePlans(t *testing.T) {
	for _, major := range []int{15, 18} {
		d := newDesk(t, major)
		d.fill(t)
		look := func() PlanFacts {
			x, err := Examine(t.Context(), Config{URL: d.url})
			if err != nil || x.Plans.Err != nil {
				t.Fatal(err, x.Plans.Err)
			}
			return x.Plans.V
		}
		if f := look(); len(f.Whole)+len(f.Off) > 0 || len(f.Indexes) < 15 {
			t.Errorf("PostgreSQL %d: %+v", major, f)
		}
		d.exec(t, `ALTER TABLE outbox.message_pending DROP CONSTRAINT message_pending_pkey; ALTER TABLE outbox.message_held DROP CONSTRAINT message_held_pkey; UPDATE pg_index SET indisvalid = false
			WHERE indexrelid = 'outbox.message_held_state'::regclass`)
		f := look()
		for _, want := range []WholeScan{{"ids", "message_pending"}, {"settle", "message_pending"}, {"settle", "message_held"}} {
			if !slices.Contains(f.Whole, want) {
				t.Errorf("PostgreSQL %d: %v is not seen in %+v", major, want, f.Whole)
			}
		}
		if len(f.Refused) != 1 || !strings.HasPrefix(f.Refused[0], "settle_held: ") {
			t.Errorf("PostgreSQL %d: refused %v", major, f.Refused)
		}
		for _, i := range f.Indexes {
			if i.Name == "message_pending_pkey" || i.Valid == (i.Name == "message_held_state") {
				t.Errorf("PostgreSQL %d: %+v", major, i)
			}
		}
		var pending int
		if err := d.conn.QueryRow(t.Context(), `SELECT count(*) FROM outbox.message_pending`).Scan(&pending); err != nil || pending == 0 {
			t.Errorf("%d messages are pending after it was only explained: %v", pending, err)
		}
	}
}
