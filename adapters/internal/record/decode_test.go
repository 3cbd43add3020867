package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

func TestDecodeReadsWhatIsEncoded(t *testing.T) {
	msgs := kibibyte(50)
	msgs[7].Tombstone, msgs[7].Payload, msgs[7].Size, msgs[8].Key = true, nil, 0, ""
	batch := encodeAll(&Encoder{}, nil, session{pid: -1, epoch: -1, next: -1}, msgs)[SizePrefix:]
	i := 0
	err := Decode(batch, func(r Record) error {
		var headers [][2]string
		for _, h := range r.Headers {
			headers = append(headers, [2]string{h.Name, string(h.Value)})
		}
		compareRecord(t, msgs[i], r.Key, r.Value, headers)
		if r.Offset != int64(i) || !r.At.Equal(sendTime) {
			t.Errorf("record %d: offset %d at %v", i, r.Offset, r.At)
		}
		i++
		return nil
	})
	if err != nil || i != len(msgs) {
		t.Errorf("%d records, %v", i, err)
	}
	for n := range batch {
		if Decode(batch[:n], func(Record) error { return nil }) == nil {
			t.Errorf("cut at %d of %d: no error", n, len(batch))
		}
	}
	if err := Decode(batch, func(Record) error { return fmt.Errorf("enough") }); err == nil || err.Error() != "enough" {
		t.Errorf("the error of f: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encodeAll(&Encoder{}, nil, session{}, []*relay.Message{{ID: 1, MessageID: "m", Key: "k", Payload: []byte("p"), Size: 1}})[SizePrefix:])
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = Decode(seal(b), func(Record) error { return nil }) // no panic, whatever stands behind a head that fits
	})
}

// seal makes length, version and crc of a batch fit, so that its records are looked at.
func seal(b []byte) []byte {
	if len(b) < batchHead {
		return b
	}
	b = append([]byte(nil), b...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16], b[22] = 2, b[22]&^7
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[crcFrom:], castagnoli))
	return b
}
