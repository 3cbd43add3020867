package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// What a damaged folder holds is named, shown up to the damage, and goes on after a repair.
func TestBrokerFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "broker")
	n, err := broker.Open(broker.Config{Dir: dir, SegmentBytes: 1 << 20}, vfs.OS{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	if err := n.CreateTopic(ctx, broker.Topic{Name: "orders", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	p, err := waybillbroker.New(waybillbroker.Config{Broker: n, Unsettled: func(_ context.Context, ids []relay.ID) ([]relay.ID, error) { return ids, nil }})
	if err != nil {
		t.Fatal(err)
	}
	p.Source([]relay.Generation{{UUID: "3f2a8c1e-5b7d-4e9f-8a6c-1d2e3f4a5b6c"}})
	if err := p.Open(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		m := &relay.Message{ID: relay.ID(i + 1), MessageID: fmt.Sprint("m-", i), Topic: "orders", Target: "orders", Key: "k", Payload: []byte(strings.Repeat("secret", 1000)), Size: 6000, CreatedAt: time.Now()}
		if o := p.Publish(ctx, p.Lane(m), []*relay.Message{m}); o[0].Kind != relay.Acked {
			t.Fatalf("%+v", o)
		}
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := BrokerVerify(dir); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("while it runs: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	count := func() (records int, payload bool, err error) {
		err = BrokerCat(t.Context(), dir, "orders", CatOptions{Partition: -1, Limit: 100}, func(r BrokerRecord) error {
			if r.Offset != int64(records) || r.MessageID != fmt.Sprint("m-", records) || r.Size != 6000 {
				t.Errorf("record %d: %+v", records, r)
			}
			records, payload = records+1, payload || r.Payload != nil
			return nil
		})
		return records, payload, err
	}
	if records, payload, err := count(); records != 20 || payload || err != nil {
		t.Errorf("cat: %d records, payloads %v, %v", records, payload, err)
	}
	r, err := BrokerVerify(dir)
	if err != nil || len(r.Damage) != 0 || r.Batches != 20 || !r.Clean || len(r.Topics) != 1 || r.Topics[0].End != 20 {
		t.Fatalf("verify: %+v, %v", r, err)
	}

	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatal(segments, err)
	}
	var appends []int64
	dump := func() (end string, err error) {
		appends = nil
		return BrokerDump(dir, 1, func(f BrokerFrame) error {
			for _, what := range f.Detail {
				if strings.HasPrefix(what, "append to orders/0: records 1,") {
					appends = append(appends, f.At)
				}
			}
			return nil
		})
	}
	if end, err := dump(); err != nil || end != "closed in order" || len(appends) != 20 {
		t.Fatalf("dump: %d appends, %q, %v", len(appends), end, err)
	}
	if _, err := BrokerDump(dir, 2, func(BrokerFrame) error { return nil }); !errors.Is(err, broker.ErrNoSegment) {
		t.Errorf("dump of a segment that is not there: %v", err)
	}
	var more *MoreRecordsError
	if err := BrokerCat(t.Context(), dir, "orders", CatOptions{Partition: -1, Limit: 4}, func(BrokerRecord) error { return nil }); !errors.As(err, &more) || more.Offset != 4 {
		t.Errorf("cat with a limit: %v", err)
	}

	const good = 7 // records before the damage
	f, err := os.OpenFile(segments[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("rot"), appends[good]+100); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := broker.Open(broker.Config{Dir: dir, SegmentBytes: 1 << 20}, vfs.OS{}); err == nil || !strings.Contains(err.Error(), "waybill broker repair") {
		t.Errorf("open: %v", err)
	}
	r, err = BrokerVerify(dir)
	if err != nil || len(r.Damage) != 1 || r.Topics[0].End != good {
		t.Fatalf("verify: %+v, %v", r, err)
	}
	var damaged *DamagedBrokerError
	if _, err := dump(); len(appends) != good || !errors.As(err, &damaged) {
		t.Errorf("dump: %d appends, %v", len(appends), err)
	}
	if records, _, err := count(); int64(records) != r.Topics[0].End || !errors.As(err, &damaged) {
		t.Errorf("cat: %d records, %v", records, err)
	}
	repaired, err := BrokerRepair(dir)
	if err != nil || repaired.Damage == "" || repaired.Topics[0].End != r.Topics[0].End {
		t.Fatalf("repair: %+v, %v", repaired, err)
	}
	if records, _, err := count(); int64(records) != r.Topics[0].End || err != nil {
		t.Errorf("cat after the repair: %d records, %v", records, err)
	}
	if repaired, err = BrokerRepair(dir); err != nil || repaired.Damage != "" {
		t.Errorf("repaired twice: %+v, %v", repaired, err)
	}
}
