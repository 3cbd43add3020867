package group

import (
	"errors"
	"reflect"
	"testing"
	"time"
)

func someChanges() []Change {
	at := time.UnixMilli(1_700_000_000_000)
	return []Change{
		{Kind: GroupStored, Group: "g", Stored: &StoredGroup{Generation: 7, Assigned: true, Kind: "consumer", Protocol: "range", Leader: "a", Members: []StoredMember{
			{"a", "i", "client", "/::1", 6 * time.Second, time.Minute, []Protocol{{"range", []byte{0, 1}}, {"sticky", nil}}, []byte("share")},
			{Member: "b", Session: time.Second}}}},
		{Kind: GroupStored, Group: "", Stored: &StoredGroup{Generation: -1, Since: at}},
		{Kind: GroupForgotten, Group: "g"},
		{Kind: OffsetStored, Group: "g", Partition: Partition{"t", 3}, Offset: Offset{1 << 40, -1, "text", at}},
		{Kind: OffsetForgotten, Group: "g", Partition: Partition{"t", 3}},
	}
}

func TestChangesAreKept(t *testing.T) {
	for _, x := range someChanges() {
		b := x.Append(nil)
		got, err := DecodeChange(b)
		if err != nil || !reflect.DeepEqual(got, x) {
			t.Errorf("%+v became %+v, %v", x, got, err)
		}
		for n := range b {
			if _, err := DecodeChange(b[:n]); !errors.Is(err, ErrChange) {
				t.Errorf("%d of %d bytes of %+v pass: %v", n, len(b), x, err)
			}
		}
		if _, err := DecodeChange(append(b, 0)); !errors.Is(err, ErrChange) {
			t.Errorf("%+v passes with a byte more", x)
		}
		b[0]++
		if _, err := DecodeChange(b); !errors.Is(err, ErrChange) {
			t.Errorf("%+v of a newer version passes", x)
		}
	}
	if _, err := DecodeChange([]byte{changeVersion, 9, 0}); !errors.Is(err, ErrChange) {
		t.Error("an unknown kind passes")
	}
}

func FuzzDecodeChange(f *testing.F) {
	for _, x := range someChanges() {
		f.Add(x.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := DecodeChange(b)
		if err != nil {
			return
		}
		again, err := DecodeChange(x.Append(nil))
		if err != nil || !reflect.DeepEqual(again, x) {
			t.Fatalf("%+v became %+v, %v", x, again, err)
		}
		c := New(Config{})
		c.Replay(x)
		c.Begin(time.UnixMilli(1))
		c.Tick(time.UnixMilli(1 << 41))
	})
}
