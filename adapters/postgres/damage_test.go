package postgres_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/adapters/postgres"
)

// F18: pages of an index are damaged. Nothing is passed over: reading fails with the sentence that a person needs, and after what it says every message comes.
func TestDamagedIndexStopsTheReader_F18(t *testing.T) {
	for _, index := range []string{"message_pending_pkey", "message_log_0_pkey"} {
		t.Run(index, func(t *testing.T) {
			t.Parallel()
			d := newCrashable(t, majors(t)[0])
			first, last := d.insert(5000, 10)
			file := d.server.DataFile(one[string](d.database, `SELECT pg_relation_filepath('outbox.`+index+`')`))
			if err := d.server.Stop(); err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			const page = 8192
			for block := 1; block < len(raw)/page; block++ { // all but the one that names the root
				clear(raw[block*page : (block+1)*page])
			}
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := d.server.Start(); err != nil {
				t.Fatal(err)
			}
			o := d.own()
			got, err := o.Store.Read(ctxOf(t), o.lease, 0, someRows)
			if err == nil || !strings.Contains(err.Error(), index) || !strings.Contains(err.Error(), "REINDEX INDEX") {
				t.Fatalf("read over a damaged index: %d messages, %v", len(got.Messages), err)
			}
			d.exec(`REINDEX INDEX outbox.` + index)
			all, _ := o.readAll(0, someRows)
			if len(all) != 5000 || all[0].ID != first || all[len(all)-1].ID != last {
				t.Errorf("%d messages after it was mended", len(all))
			}
		})
	}
}

// F18: the file of an index is put back from another time. Nothing of it is damaged, so the server answers without an error and without the newest messages: the
// examination finds it, and after what the doctor says they come.
func TestIndexLacksRows_F18(t *testing.T) {
	t.Parallel()
	for _, major := range majors(t) {
		d := newCrashable(t, major)
		d.exec(`CREATE EXTENSION amcheck`)
		d.insert(100, 10)
		const index = "message_pending_pkey"
		file := d.server.DataFile(one[string](d.database, `SELECT pg_relation_filepath('outbox.`+index+`')`))
		restart := func(change func()) {
			if err := d.server.Stop(); err != nil {
				t.Fatal(err)
			}
			change()
			if err := d.server.Start(); err != nil {
				t.Fatal(err)
			}
		}
		var old []byte
		restart(func() { old, _ = os.ReadFile(file) })
		d.insert(20, 10)
		examined := func() postgres.IndexFacts {
			x, err := postgres.Examine(t.Context(), postgres.Config{URL: d.server.URL("postgres")})
			if err != nil || x.Indexes.Err != nil {
				t.Fatal(err, x.Indexes.Err)
			}
			return x.Indexes.V
		}
		well := examined()
		if !well.Extension || !well.Allowed || well.Compared < 10 || len(well.Left)+len(well.Damaged) > 0 {
			t.Fatalf("%+v", well)
		}
		restart(func() {
			if err := os.WriteFile(file, old, 0o600); err != nil {
				t.Fatal(err)
			}
		})
		o := d.own()
		if all, _ := o.readAll(0, someRows); len(all) != 100 {
			t.Fatalf("%d messages by an index that knows of 100: this shows nothing", len(all))
		}
		if f := examined(); f.Compared != well.Compared-1 || len(f.Damaged) != 1 || f.Damaged[0].Index != index || !strings.Contains(f.Damaged[0].Text, "lacks matching index tuple") {
			t.Fatalf("%+v", f)
		}
		d.exec(`REINDEX INDEX outbox.` + index)
		if f := examined(); f.Compared != well.Compared || len(f.Damaged) > 0 {
			t.Errorf("%+v", f)
		}
		if all, _ := o.readAll(0, someRows); len(all) != 120 {
			t.Errorf("%d messages after it was mended", len(all))
		}
		d.exec(`BEGIN`)
		d.exec(`LOCK TABLE outbox.message_held`)
		if f := examined(); len(f.Left) == 0 || f.Compared+len(f.Left) != well.Compared || slices.Contains(f.Left, index) {
			t.Errorf("while message_held is locked: %+v", f)
		}
	}
}
