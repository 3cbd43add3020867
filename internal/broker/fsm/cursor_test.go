package fsm

import (
	"errors"
	"slices"
	"testing"
)

func TestCursor(t *testing.T) {
	c := newCursor()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	is := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Fatalf("%v, want %v", err, want)
		}
	}
	ok(c.begin(2, 1))
	is(c.begin(1, 9), ErrFenced)
	is(c.begin(2, 1), ErrStale)
	ok(c.begin(2, 5))
	is(c.begin(2, 4), ErrStale)
	ok(c.begin(3, 1)) // numbers count inside an epoch

	if offsets, err := c.check([]int64{9, 4}, []uint32{90, 40}); offsets != nil || err != nil {
		t.Fatalf("new messages: %v, %v", offsets, err)
	}
	c.add(100, []int64{9, 4}, []uint32{90, 40})
	if offsets, err := c.check([]int64{4, 9}, []uint32{40, 90}); !slices.Equal(offsets, []int64{101, 100}) || err != nil {
		t.Fatalf("stored messages: %v, %v", offsets, err)
	}
	_, err := c.check([]int64{4, 5}, []uint32{40, 50})
	if partial := (*PartialError)(nil); !errors.As(err, &partial) || !slices.Equal(partial.Offsets, []int64{101, -1}) {
		t.Fatalf("some of them: %v", err)
	}
	_, err = c.check([]int64{5, 4}, []uint32{50, 41})
	is(err, ErrRewound)
	for _, bad := range [][]int64{{1, 1}, {2, 1, 2}} {
		_, err = c.check(bad, make([]uint32, len(bad)))
		is(err, ErrIDs)
	}
	_, err = c.check([]int64{1}, nil)
	is(err, ErrIDs)

	many := make([]int64, maxWindow-1)
	for i := range many {
		many[i] = int64(1000 + i)
	}
	_, err = c.check(many, make([]uint32, len(many)))
	is(err, ErrWindowFull)
	c.raise(101, 102) // inside the batch: it stays
	if len(c.stored) != 2 {
		t.Fatalf("%d messages in the window", len(c.stored))
	}
	c.raise(5000, 102) // no higher than the partition's end
	if len(c.stored) != 0 || len(c.window) != 0 || c.floor != 102 {
		t.Fatalf("%d messages in the window, floor %d", len(c.stored), c.floor)
	}
	c.raise(-1, 102)
	if c.floor != 102 || c.highest != 9 {
		t.Fatalf("floor %d, highest %d", c.floor, c.highest)
	}
	if _, err := c.check(many, make([]uint32, len(many))); err != nil {
		t.Fatal(err)
	}
}
