package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/broker/group"
)

// shelf is a log of one partition in memory, whose oldest batches can be lost and whose appends can fail.
type shelf struct {
	Log
	mu      sync.Mutex
	start   int64
	batches [][]byte
	fail    error
	asked   int // for its bounds
}

func (s *shelf) CreateTopic(context.Context, broker.Topic) error { return broker.ErrTopicExists }

func (s *shelf) Append(_ context.Context, _ string, _ int32, b []byte) (broker.Ack, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return broker.Ack{}, s.fail
	}
	if len(b) > broker.MaxMessage {
		return broker.Ack{}, broker.ErrTooLarge
	}
	s.batches = append(s.batches, append([]byte(nil), b...))
	return broker.Ack{Base: int64(len(s.batches) - 1)}, nil
}

func (s *shelf) Bounds(string, int32) (start, high int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.start, int64(len(s.batches)), nil
}

func (s *shelf) Read(_ context.Context, _ string, _ int32, from int64, _ int) ([]broker.StoredBatch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := append([]byte(nil), s.batches[from]...)
	binary.BigEndian.PutUint64(b, uint64(from))
	return []broker.StoredBatch{{Base: from, Bytes: b}}, nil
}

func fresh() *group.Coordinator { return group.New(group.Config{}) }

// offsetOf is a change that commits.
func offsetOf(topic string, at int64) group.Change {
	return group.Change{Kind: group.OffsetStored, Group: "g", Partition: group.Partition{Topic: topic}, Offset: group.Offset{At: at, Epoch: -1, Time: time.UnixMilli(1)}}
}

func reload(t *testing.T, s *shelf) (*journal, *group.Coordinator) {
	t.Helper()
	j := &journal{log: s}
	c, err := j.load(t.Context(), fresh)
	must(t, err)
	return j, c
}

func TestJournal(t *testing.T) {
	s := &shelf{}
	j, c := reload(t, s)
	large := group.Change{Kind: group.GroupStored, Group: "g", Stored: &group.StoredGroup{Generation: 3, Kind: "consumer"}}
	for i := range 30 {
		large.Stored.Members = append(large.Stored.Members, group.StoredMember{Member: string(rune('a' + i)), Session: time.Second,
			Protocols: []group.Protocol{{Name: "range", Metadata: []byte(strings.Repeat("x", 100_000))}}})
	}
	changes := []group.Change{offsetOf("t", 1), large, offsetOf("t", 2)} // three batches
	must(t, j.store(t.Context(), c, changes))
	if len(s.batches) != 4 {
		t.Fatalf("%d batches", len(s.batches))
	}
	for _, x := range changes {
		c.Replay(x)
	}
	if _, again := reload(t, s); !reflect.DeepEqual(again.Snapshot(), c.Snapshot()) {
		t.Error("what was stored is not what is read")
	}
	s.batches = s.batches[:3] // the end of the row is missing
	if _, again := reload(t, s); len(again.Snapshot()) != 0 {
		t.Errorf("half a row counts: %+v", again.Snapshot())
	}
	must(t, j.store(t.Context(), c, []group.Change{offsetOf("u", 7)}))
	if _, again := reload(t, s); len(again.Snapshot()) != 1 {
		t.Errorf("a row behind half a row: %+v", again.Snapshot())
	}
	s.batches[1] = batch("a", "b")
	if _, err := (&journal{log: s}).load(t.Context(), fresh); !errors.Is(err, errJournal) {
		t.Errorf("a batch of somebody else: %v", err)
	}
}

// A snapshot makes what is before it needless, and comes when that grows long or has lost its beginning.
func TestJournalSnapshots(t *testing.T) {
	s := &shelf{}
	j, c := reload(t, s)
	at := int64(0)
	commit := func() {
		t.Helper()
		at++
		x := offsetOf("t", at)
		c.Replay(x)
		must(t, j.store(t.Context(), c, []group.Change{x}))
	}
	commit()
	commit()
	j.since = journalEvery + 1
	commit()
	if j.since != 0 || j.snapshot != 2 {
		t.Errorf("%+v", j)
	}
	commit()
	s.start = 2
	if again, c := reload(t, s); len(c.Snapshot()) != 1 || c.Snapshot()[0].Offset.At != at || again.snapshot != 2 {
		t.Errorf("%+v, %+v", again, c.Snapshot())
	}
	s.start = 3 // the snapshot was trimmed
	commit()
	s.start = 4
	if _, c := reload(t, s); len(c.Snapshot()) != 1 || c.Snapshot()[0].Offset.At != at {
		t.Errorf("%+v", c.Snapshot())
	}
}

// What cannot be stored is not answered as done: the groups are read again, and whoever waits is told to look for the coordinator.
func TestDeskGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		var failures []error
		d := newDesk(s, group.Config{}, func(_ string, err error) { failures = append(failures, err) })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if err := d.call(ctx, func(time.Time) {}); !errors.Is(err, errLoading) {
			t.Errorf("before it runs: %v", err)
		}
		short, done := context.WithTimeout(ctx, time.Second)
		defer done()
		if err := d.insist(short, func(time.Time) {}); !errors.Is(err, errLoading) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("tried again before it runs: %v", err)
		}
		var running sync.WaitGroup
		running.Go(func() { d.run(ctx) })
		must(t, d.insist(ctx, func(time.Time) {}))
		commit := func(at int64) (err error) {
			return d.call(ctx, func(now time.Time) {
				d.c.Commit(now, group.CommitRequest{Identity: group.Identity{Group: "g", Generation: -1}, Offsets: []group.Commit{{Partition: group.Partition{Topic: "t"}, Offset: group.Offset{At: at}}}})
			})
		}
		must(t, commit(1))
		waits := make(chan error, 1)
		running.Go(func() {
			_, err := d.answer(ctx, func(now time.Time, token group.Token) {
				d.c.Join(now, token, group.JoinRequest{Identity: group.Identity{Group: "other"}, NewID: "a", Session: 10 * time.Second, Kind: "consumer", Protocols: []group.Protocol{{Name: "range"}}})
			})
			waits <- err
		})
		synctest.Wait()
		s.mu.Lock()
		s.fail = errors.New("the disk")
		s.mu.Unlock()
		if err := commit(2); !errors.Is(err, errGivenUp) {
			t.Errorf("%v", err)
		}
		if err := <-waits; !errors.Is(err, errGivenUp) {
			t.Errorf("a Join that waited: %v", err)
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		time.Sleep(1100 * time.Millisecond) // of the test's own clock
		synctest.Wait()
		var all []group.Commit
		must(t, d.call(ctx, func(time.Time) { all = d.c.Offsets("g") }))
		if len(all) != 1 || all[0].At != 1 || len(failures) != 1 {
			t.Errorf("%+v, %v", all, failures)
		}
		cancel()
		running.Wait()
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(rowFirst|rowLast, []byte("piece")))
	f.Add(pack(0, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		flags, piece, err := unpack(b)
		if err != nil {
			return
		}
		again, same, err := unpack(pack(flags, piece))
		if err != nil || again != flags || string(same) != string(piece) {
			t.Fatalf("%d %q became %d %q, %v", flags, piece, again, same, err)
		}
	})
}

// unread is a log that gives nothing to the groups.
type unread struct{ nothing }

func (unread) CreateTopic(context.Context, broker.Topic) error { return broker.ErrStopped }

// That groups cannot be read is told apart from what clients do, who could drown it.
func TestDeskIsHeard(t *testing.T) {
	heard := make(chan string, 10)
	s, err := New(Config{Log: unread{}, Advertise: "127.0.0.1:9092", Closed: func(_ string, why error) { t.Errorf("a client has ended: %v", why) },
		Failed: func(op string, err error) { heard <- op + ": " + err.Error() }})
	must(t, err)
	l, err := Listen("127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	if got, want := <-heard, "consumer groups: "+broker.ErrStopped.Error(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	cancel()
	serving.Wait()
}

// A snapshot is asked about once for each row: it is a look at the log under its lock.
func TestDueIsAskedOnce(t *testing.T) {
	s := &shelf{}
	j, c := reload(t, s)
	before := s.asked
	must(t, j.store(t.Context(), c, nil))
	if len(s.batches) != 0 || s.asked != before+1 {
		t.Errorf("%d batches, asked %d times", len(s.batches), s.asked-before)
	}
}
