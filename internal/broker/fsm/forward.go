package fsm

import "iter"

// ForwardData returns the state that [Data.Snapshot] wrote, b, behind more entries, each with the term of its leader: the bytes that a node writes which has applied
// them all. It keeps nothing of b. Other bytes are [ErrSnapshot].
func ForwardData(b []byte, entries iter.Seq2[uint64, Entry]) ([]byte, error) {
	d, err := RestoreData(b)
	if err != nil {
		return nil, err
	}
	for term, e := range entries {
		d.Apply(term, e)
	}
	return d.Snapshot(nil), nil
}
