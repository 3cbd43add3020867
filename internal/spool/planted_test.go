package spool

import (
	"testing"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/internal/kp/kptest"
)

// The crash images find a folder whose name was not made durable, and every bug that is planted in the log below it.
func TestPlantedBugsH6(t *testing.T) {
	kptest.Hunt(t, "TestCrashImagesH4H6H7H14/flips=false", append([]kp.Bug{kp.CacheParentUnsynced}, kp.LogBugs...), "-spool.images", "1000")
}

// A failed disk finds an ack that is believed all the same: a power cut takes it back, and its message would be sent again behind a settlement that was postponed.
func TestPlantedBugsH3(t *testing.T) {
	kptest.Hunt(t, "TestErrorAtEveryOperationH1H2H3/EIO_once", []kp.Bug{kp.CacheAckBelieved})
}

// Rotten bits find a read that does not look at the sum of what it reads.
func TestPlantedBugsH5(t *testing.T) {
	kptest.Hunt(t, "TestUnreadableMessageH2H5/rot", []kp.Bug{kp.CacheCRCUnchecked})
}

// The next ownership finds a cache that is taken for a second truth.
func TestPlantedBugsH8(t *testing.T) {
	kptest.Hunt(t, "TestOwnershipBegins", []kp.Bug{kp.CacheSecondTruth})
}
