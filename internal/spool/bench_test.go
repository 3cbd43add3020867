package spool

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// Messages of 1 KiB in batches of 100, 8 lanes at once, on the disk of the temporary folder: filled, and read back.
func BenchmarkCache(b *testing.B) {
	s, _, err := Open(Config{FS: vfs.OS{}, Dir: b.TempDir(), MinFree: 1}, owner)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	const lanes, size = 8, 100
	each := func(work func(name relay.CacheLane, n int)) {
		var wg sync.WaitGroup
		for lane := range lanes {
			wg.Go(func() {
				work(relay.CacheLane{Destination: "d", Lane: relay.Lane{Topic: "orders", Index: int32(lane)}}, max(1, b.N/lanes/size))
			})
		}
		wg.Wait()
	}
	b.ReportAllocs()
	b.ResetTimer()
	each(func(name relay.CacheLane, n int) {
		list := batch(1024, slices.Repeat([]relay.ID{1}, size)...)
		for i := range n {
			for k := range list {
				list[k].ID = relay.ID(i*size + k + 1)
			}
			if _, err := s.Put(lease, name, list); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(lanes*size*max(1, b.N/lanes/size))/b.Elapsed().Seconds(), "put/s")
	filled := b.Elapsed()
	b.StartTimer()
	each(func(name relay.CacheLane, n int) {
		for read := 0; read < n*size; {
			list, err := s.Next(name, size, 1<<20)
			if err != nil || len(list) == 0 {
				b.Error(err)
				return
			}
			read += len(list)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(lanes*size*max(1, b.N/lanes/size))/(b.Elapsed()-filled).Seconds(), "next/s")
	stop()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
