package relay

import "slices"

// runs turns acked ids into runs of consecutive ids. It sorts ids in place. An id appears in one run; a gap, even of one id, ends a run: a row that commits
// inside a gap later must not be deleted unsent.
func runs(ids []ID, into []Run) []Run {
	slices.Sort(ids)
	for _, id := range ids {
		if n := len(into); n > 0 && into[n-1].Hi+1 == id {
			into[n-1].Hi = id
			continue
		}
		into = append(into, Run{id, id})
	}
	return into
}

// receipts turns the acked messages of one batch, in the order in which they were sent, into receipts: split where ids do not ascend (a row out of a hole
// behind a younger one), where offsets are not consecutive, and where a receipt would span MaxReceiptSpan.
func receipts(destination string, l Lane, acked []*Message, at []Position, into []Receipt) []Receipt {
	var cur *Receipt
	for i, m := range acked {
		offset := int64(-1)
		if at[i].HasOffset {
			offset = at[i].Offset
		}
		if cur != nil {
			last := cur.IDs[len(cur.IDs)-1]
			follows := offset < 0 && cur.FirstOffset < 0 || cur.FirstOffset >= 0 && offset == cur.FirstOffset+int64(len(cur.IDs))
			if m.ID > last && m.ID-cur.IDs[0] < MaxReceiptSpan && follows {
				cur.IDs = append(cur.IDs, m.ID)
				continue
			}
		}
		into = append(into, Receipt{Destination: destination, Lane: l.String(), FirstOffset: offset, IDs: append(make([]ID, 0, len(acked)-i), m.ID)})
		cur = &into[len(into)-1]
	}
	return into
}
