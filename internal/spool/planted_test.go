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
