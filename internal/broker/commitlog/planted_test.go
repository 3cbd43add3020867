package commitlog

import (
	"testing"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/internal/kp/kptest"
)

// The crash images find every bug that is planted in the log.
func TestPlantedBugs(t *testing.T) {
	kptest.Hunt(t, "TestCrashImages/flips=false", kp.LogBugs, "-log.images", "2000")
}
