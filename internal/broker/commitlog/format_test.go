package commitlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
)

var rewrite = flag.Bool("log.golden", false, "write the golden bytes anew: only with a new version of the format")

// golden compares bytes with a file of testdata that people can read: 16 bytes a line, zeros at the end left out.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b strings.Builder
	for rest := bytes.TrimRight(got, "\x00"); len(rest) > 0; rest = rest[min(16, len(rest)):] {
		b.WriteString(hex.EncodeToString(rest[:min(16, len(rest))]) + "\n")
	}
	file := "testdata/" + name + ".hex"
	if *rewrite {
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("%s: the bytes on disk have changed:\n%s\nwant\n%s", name, b.String(), want)
	}
}

var goldenHeader = segmentHeader{Number: 12, Nonce: 0x1122334455667788, Node: UUID{1, 2, 3}, Cluster: UUID{4, 5, 6}, Opens: 3, First: 1000, Seed: 0xcafef00d}

func TestSegmentHeader(t *testing.T) {
	b := goldenHeader.encode()
	golden(t, "segment", b)
	if len(b) != align {
		t.Errorf("%d bytes", len(b))
	}
	h, err := decodeSegmentHeader(b)
	if err != nil || h != goldenHeader {
		t.Errorf("%+v, %v", h, err)
	}
	for at := range b { // every bit counts: magic and crc by value, the rest by the crc
		for bit := range 8 {
			b[at] ^= 1 << bit
			_, err := decodeSegmentHeader(b)
			if at >= 4 && at < 8 {
				if !errors.Is(err, ErrVersion) {
					t.Fatalf("bit %d of the version: %v", bit, err)
				}
			} else if !errors.Is(err, errHeader) {
				t.Fatalf("byte %d bit %d turned: %v", at, bit, err)
			}
			b[at] ^= 1 << bit
		}
	}
}

func goldenFrame() (frameHeader, []byte) {
	b := make([]byte, frameHeaderSize)
	b = appendRecord(b, Record{Kind: KindEntry, Flags: 1, Stream: 6, Index: 42, Term: 7, Body: []byte("order 1 paid")})
	b = appendRecord(b, Record{Kind: KindHardState, Stream: 6, Index: 42, Term: 8})
	fh := frameHeader{Nonce: goldenHeader.Nonce, Seq: 1000, Synced: 999, Count: 2, Flags: flagClean}
	b = fh.seal(b, goldenHeader.Seed)
	return fh, b
}

func TestFrame(t *testing.T) {
	want, b := goldenFrame()
	golden(t, "frame", b)
	fh, ok := decodeFrameHeader(b)
	if !ok || fh != want || !fh.whole(b, goldenHeader.Seed) || fh.size() != align {
		t.Fatalf("%+v, %v", fh, ok)
	}
	if fh.whole(b, goldenHeader.Seed+1) {
		t.Error("a frame stands behind any other")
	}
	var bodies []string
	if err := fh.records(b, func(at int, r Record) error {
		again, _, err := readRecord(b[at:])
		if err != nil || again.Index != r.Index {
			t.Errorf("at %d: %+v, %v", at, again, err)
		}
		bodies = append(bodies, string(r.Body))
		return nil
	}); err != nil || strings.Join(bodies, "|") != "order 1 paid|" {
		t.Errorf("%q, %v", bodies, err)
	}
	for at := range frameHeaderSize + int(fh.Length) {
		for bit := range 8 {
			b[at] ^= 1 << bit
			if fh, ok := decodeFrameHeader(b); ok && fh.whole(b, goldenHeader.Seed) {
				t.Fatalf("byte %d bit %d turned, and the frame is whole", at, bit)
			}
			b[at] ^= 1 << bit
		}
	}
}

func TestLargestRecord(t *testing.T) {
	if n := frameHeaderSize + recordSize(MaxBody); n != MaxFrame {
		t.Errorf("the largest record makes a frame of %d bytes, not %d", n, MaxFrame)
	}
}

func FuzzRecords(f *testing.F) {
	_, b := goldenFrame()
	f.Add(b, uint16(2))
	f.Add(b[:50], uint16(1))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, count uint16) {
		fh, ok := decodeFrameHeader(b)
		if !ok {
			return
		}
		fh.Count, fh.Length = count, uint32(max(0, len(b)-frameHeaderSize))
		var out []byte
		if err := fh.records(b, func(_ int, r Record) error {
			out = appendRecord(out, r)
			return nil
		}); err != nil {
			return
		}
		if len(out) != int(fh.Length) {
			t.Errorf("%d bytes were read, encoded again they are %d", fh.Length, len(out))
		}
	})
}

func FuzzHeaders(f *testing.F) {
	_, b := goldenFrame()
	f.Add(b)
	f.Add(goldenHeader.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := decodeSegmentHeader(b); err == nil && !bytes.Equal(h.encode()[:88], b[:88]) {
			t.Errorf("%+v is not what was decoded", h)
		}
		if fh, ok := decodeFrameHeader(b); ok && fh.size() > MaxFrame {
			t.Errorf("a frame of %d bytes", fh.size())
		}
	})
}
