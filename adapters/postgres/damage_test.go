package postgres_test

import (
	"os"
	"strings"
	"testing"
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
