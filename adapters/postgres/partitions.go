package postgres

import (
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Bounds of a partition's width in ids, and of how many there should be.
const (
	minPartitionWidth = 100_000
	maxPartitionWidth = 50_000_000
	wantPartitions    = 16 // live ones, at the present rate
	manyPartitions    = 48 // beyond it new ones are twice as wide as the newest: reads slow down above 64
	aheadPartitions   = 2  // whole ones above the highest id, at least
)

// idRange is the partition [Lo, Hi) of message_log and receipts.
type idRange struct{ Lo, Hi relay.ID }

// idFacts is what the plan of partitions rests on.
type idFacts struct {
	last     relay.ID  // the sequence's position
	rest     relay.ID  // highest id in the default partition; 0 = none
	hours    []int64   // ids drawn in each of the last hours, the newest first
	existing []idRange // ascending
}

// planPartitions says which partitions to add: as wide as a sixteenth of what the retention holds at the rate of the last hour, and so far ahead that two
// whole ones and a day at the peak rate lie above the highest id. An insert never fails for want of one: it goes to the default partition.
func planPartitions(f idFacts, retention time.Duration) []idRange {
	var lastHour, peak int64
	for i, n := range f.hours {
		if i == 0 {
			lastHour = n
		}
		peak = max(peak, n)
	}
	width := min(max(lastHour*int64(retention/time.Hour)/wantPartitions, minPartitionWidth), maxPartitionWidth)
	next, whole := relay.ID(0), 0
	if n := len(f.existing); n > 0 {
		newest := f.existing[n-1]
		next = newest.Hi
		if n > manyPartitions {
			width = min(max(width, 2*int64(newest.Hi-newest.Lo)), maxPartitionWidth)
		}
	}
	for _, p := range f.existing {
		if p.Lo > f.last {
			whole++
		}
	}
	if behind := max(f.last, f.rest); next <= behind { // rows lie in the default partition, and more arrive while we look
		next = behind + 1 + relay.ID(max(peak/60, 1000))
	}
	var add []idRange
	for whole < aheadPartitions || int64(next-f.last) < 24*peak {
		add = append(add, idRange{next, next + relay.ID(width)})
		next += relay.ID(width)
		if whole++; len(add) == wantPartitions {
			break // the rest at the next run
		}
	}
	return add
}
