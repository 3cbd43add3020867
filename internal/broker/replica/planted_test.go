package replica

import (
	"testing"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/internal/kp/kptest"
)

// The simulation finds every bug that is planted in replication, most of them by what becomes of the commands alone.
func TestPlantedBugs(t *testing.T) {
	kptest.Hunt(t, "TestSimulation", []kp.Bug{kp.CampaignBeforeSync}, "-sim.seeds", "10")
}

func TestPlantedBugsInHistory(t *testing.T) {
	kptest.Hunt(t, "TestSimulation", []kp.Bug{kp.AckBeforeSync, kp.SyncErrorIgnored, kp.FollowerAckBeforeSync, kp.AckBeforeMajority, kp.VoteBeforeSync, kp.BaseTooNew, kp.BaseUnkept}, "-sim.seeds", "60", "-sim.promises=false")
}
