package spool

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// TestMain lets a test start this binary as a second process that opens a cache.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SPOOL_TEST_OPEN"); dir != "" {
		_, _, err := Open(Config{FS: vfs.OS{}, Dir: dir}, owner)
		fmt.Print(err)
		if os.Getenv("SPOOL_TEST_MEMORY") != "" {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			fmt.Print(" ", m.Sys)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	owner = Owner{System: 7012345678901234567, Generations: []relay.Generation{{From: 1, UUID: textA}}, Epoch: 7, Claimed: 1000}
	lease = relay.Lease{Epoch: 7, Generations: owner.Generations}
)

// testConfig has files of 16 KiB, so that a few messages fill some.
func testConfig(fsys vfs.FS) Config {
	return Config{FS: fsys, Dir: "some/cache", MaxBytes: 1 << 20, SegmentBytes: 4 * vfs.Block, MinFree: 1}
}

// opened is a cache that runs.
type opened struct {
	*Spool
	found Found
	stop  func() error
}

func openSpool(t *testing.T, cfg Config, who Owner) *opened {
	t.Helper()
	s, found, err := Open(cfg, who)
	must(t, err)
	return run(t, s, found)
}

func run(t *testing.T, s *Spool, found Found) *opened {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	o := &opened{s, found, sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() { _ = o.stop() })
	return o
}

// newMessage is a message that its id makes.
func newMessage(id relay.ID, size int) *relay.Message {
	m := &relay.Message{ID: id, MessageID: textA + "-" + id.String(), Topic: "order.paid", Key: fmt.Sprint("k", id%7), CreatedAt: someTime.Add(time.Duration(id) * time.Second),
		Payload: bytes.Repeat([]byte{byte(id)}, size), Size: size}
	if id%3 == 0 {
		m.Headers = []relay.Header{{Name: "id", Value: id.String()}}
	}
	if id%11 == 0 {
		m.Payload, m.Size, m.Tombstone = nil, 0, true
	}
	return m
}

func batch(size int, ids ...relay.ID) (list []*relay.Message) {
	for _, id := range ids {
		list = append(list, newMessage(id, size))
	}
	return list
}

func (o *opened) mustPut(t *testing.T, lane relay.CacheLane, list []*relay.Message) {
	t.Helper()
	if n, err := o.Put(lease, lane, list); n != len(list) || err != nil {
		t.Fatalf("put: %d of %d, %v", n, len(list), err)
	}
}

// drain reads a lane to its end.
func (o *opened) drain(t *testing.T, lane relay.CacheLane) (list []*relay.Message) {
	t.Helper()
	for {
		part, err := o.Next(lane, 3, 10<<10)
		must(t, err)
		if len(part) == 0 {
			return list
		}
		list = append(list, part...)
	}
}

func idsOf(list []*relay.Message) (ids []relay.ID) {
	for _, m := range list {
		ids = append(ids, m.ID)
	}
	return ids
}

func upTo(n int) (ids []relay.ID) {
	for i := range n {
		ids = append(ids, relay.ID(i+1))
	}
	return ids
}

// IDs are those of messages of a lane that are not acked, above an id, at most limit.
func (o *opened) IDs(name relay.CacheLane, after relay.ID, limit int) (ids []relay.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.index.lanes[name]
	if l == nil {
		return nil
	}
	for _, e := range l.list(after, limit, func(e *entry) bool { return e.message != 0 }) {
		ids = append(ids, e.id)
	}
	return ids
}
