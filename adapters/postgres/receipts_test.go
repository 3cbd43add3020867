package postgres

import (
	"slices"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

func TestReceiptIDs(t *testing.T) {
	for _, ids := range [][]relay.ID{{1}, {1, 2, 3}, {5, 300, 65540}, {1 << 62, 1<<62 + 65535}, {0, 65535}} {
		b, err := appendIDs(nil, ids)
		if err != nil {
			t.Fatalf("%v: %v", ids, err)
		}
		got, err := DecodeIDs(ids[0], len(ids), b)
		if err != nil || !slices.Equal(got, ids) {
			t.Errorf("%v came back as %v, %v", ids, got, err)
		}
	}
	for _, ids := range [][]relay.ID{{}, {2, 1}, {1, 1}, {1, 65537}, {-1, 2}} {
		if _, err := appendIDs(nil, ids); err == nil {
			t.Errorf("%v was accepted", ids)
		}
	}
	if b, _ := appendIDs(nil, []relay.ID{1, 2, 130, 258}); !slices.Equal(b, []byte{1, 1, 0x80, 1, 0x80, 1}) {
		t.Errorf("bytes %x: the stored form changed", b)
	}
}

func FuzzReceiptIDs(f *testing.F) {
	f.Add(int64(1), 3, []byte{1, 1, 1})
	f.Add(int64(7), 2, []byte{7, 0x80, 0x80, 4})
	f.Add(int64(1), 2, []byte{1, 0})
	f.Fuzz(func(t *testing.T, lo int64, n int, b []byte) {
		ids, err := DecodeIDs(relay.ID(lo), n, b)
		if err != nil {
			return
		}
		if len(ids) != n || ids[0] != relay.ID(lo) {
			t.Fatalf("%d ids from %d, asked for %d from %d", len(ids), ids[0], n, lo)
		}
		again, err := appendIDs(nil, ids)
		if err != nil {
			t.Fatalf("what was decoded cannot be encoded: %v", err)
		}
		back, err := DecodeIDs(relay.ID(lo), n, again)
		if err != nil || !slices.Equal(back, ids) {
			t.Fatalf("%v came back as %v, %v", ids, back, err)
		}
	})
}
