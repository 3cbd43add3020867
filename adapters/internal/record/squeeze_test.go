package record

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"
)

func gzipped(dst, b []byte) ([]byte, error) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := w.Write(b)
	err = errors.Join(err, w.Close())
	return append(dst, z.Bytes()...), err
}

// TestSqueeze: the head says what follows, and what follows are the same records; the plain batch is left alone.
func TestSqueeze(t *testing.T) {
	msgs := kibibyte(50)
	e := &Encoder{}
	begun := e.Begin(nil)
	for i, m := range msgs {
		begun = e.Add(begun, i, m)
	}
	before := append([]byte(nil), begun...)
	small, ok := e.Squeeze(make([]byte, 7, 100), begun, CodecGzip, gzipped)
	if !ok || len(small) > len(begun)/5 || !bytes.Equal(begun, before) {
		t.Fatalf("%v: %d bytes became %d", ok, len(begun), len(small))
	}
	e.Finish(small, len(msgs), sendTime, Producer{9, 1}, 3)
	raw := small[SizePrefix:]
	if int(binary.BigEndian.Uint32(small)) != len(raw) || int(binary.BigEndian.Uint32(raw[8:])) != len(raw)-12 {
		t.Error("the lengths are wrong")
	}
	if binary.BigEndian.Uint16(raw[21:]) != 1 || binary.BigEndian.Uint32(raw[57:]) != 50 || binary.BigEndian.Uint32(raw[53:]) != 3 {
		t.Errorf("head %x", raw[:batchHead])
	}
	if crc := crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)); binary.BigEndian.Uint32(raw[17:]) != crc {
		t.Error("the crc does not count the attributes and what was compressed")
	}
	z, err := gzip.NewReader(bytes.NewReader(raw[batchHead:]))
	if err != nil {
		t.Fatal(err)
	}
	if records, err := io.ReadAll(z); err != nil || !bytes.Equal(records, begun[SizePrefix+batchHead:]) {
		t.Errorf("%d bytes of records came back, %v", len(records), err)
	}
	if err := Decode(raw, func(Record) error { return nil }); !errors.Is(err, ErrBatch) {
		t.Errorf("a compressed batch was read as a plain one: %v", err)
	}
}

// TestSqueezeNeverGrows: what is not smaller, or fails, stays as it is.
func TestSqueezeNeverGrows(t *testing.T) {
	e := &Encoder{}
	begun := e.Add(e.Begin(nil), 0, kibibyte(1)[0])
	for name, pack := range map[string]func(dst, b []byte) ([]byte, error){
		"equal":  func(dst, b []byte) ([]byte, error) { return append(dst, b...), nil },
		"larger": func(dst, b []byte) ([]byte, error) { return append(append(dst, b...), 0), nil },
		"broken": func(dst, _ []byte) ([]byte, error) { return dst, io.ErrShortWrite },
	} {
		same, ok := e.Squeeze(nil, begun, CodecZstd, pack)
		if ok || &same[0] != &begun[0] || binary.BigEndian.Uint16(same[SizePrefix+21:]) != 0 {
			t.Errorf("%s: %v", name, ok)
		}
	}
}
