package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/waybillmq/waybill/relay"
)

// appendIDs appends the ids of a receipt to dst: the lowest one, then each difference from the id before, all as unsigned LEB128. About one byte a message.
func appendIDs(dst []byte, ids []relay.ID) ([]byte, error) {
	if len(ids) == 0 {
		return dst, errors.New("postgres: a receipt without ids")
	}
	if span := ids[len(ids)-1] - ids[0]; span >= relay.MaxReceiptSpan {
		return dst, fmt.Errorf("postgres: a receipt spans %d ids, at most %d are allowed; split it", span, relay.MaxReceiptSpan-1)
	}
	if ids[0] < 0 {
		return dst, fmt.Errorf("postgres: a receipt cannot hold the id %d", ids[0])
	}
	last := relay.ID(0)
	for i, id := range ids {
		if i > 0 && id <= last {
			return dst, fmt.Errorf("postgres: ids of a receipt do not ascend: %d after %d; split it where they descend", id, last)
		}
		dst = binary.AppendUvarint(dst, uint64(id-last))
		last = id
	}
	return dst, nil
}

// DecodeIDs returns the ids of a stored receipt from its lowest id, its number of ids and its bytes. Bytes that do not give exactly n ascending ids within
// relay.MaxReceiptSpan are an error: a receipt is a proof, so it is never guessed at.
func DecodeIDs(lo relay.ID, n int, b []byte) ([]relay.ID, error) {
	if n < 1 || n > relay.MaxReceiptSpan || n > len(b) {
		return nil, fmt.Errorf("postgres: a receipt of %d bytes cannot hold %d ids", len(b), n)
	}
	ids, last := make([]relay.ID, 0, n), relay.ID(0)
	for len(b) > 0 {
		d, size := binary.Uvarint(b)
		switch {
		case size <= 0, len(ids) > 0 && d >= relay.MaxReceiptSpan:
			return nil, errors.New("postgres: the ids of a receipt are damaged")
		case len(ids) == 0 && d != uint64(lo), len(ids) > 0 && d == 0, len(ids) == n:
			return nil, errors.New("postgres: the ids of a receipt do not match its bounds")
		}
		last += relay.ID(d)
		if last < lo || last-lo >= relay.MaxReceiptSpan {
			return nil, errors.New("postgres: the ids of a receipt are too far apart")
		}
		ids, b = append(ids, last), b[size:]
	}
	if len(ids) != n {
		return nil, fmt.Errorf("postgres: a receipt holds %d ids where it says %d", len(ids), n)
	}
	return ids, nil
}
