package broker

import (
	"testing"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/internal/kp/kptest"
)

// The power cuts find a broker that forgets what it remembers of its sources.
func TestPlantedBugs(t *testing.T) {
	kptest.Hunt(t, "TestSourceSurvivesPowerCuts", []kp.Bug{kp.WindowForgotten})
}

// Three nodes under faults find one that leaves a follower without records.
func TestPlantedBugsOfThree(t *testing.T) {
	kptest.Hunt(t, "TestChaos", []kp.Bug{kp.BaseTooNew}, "-chaos.seeds", "3")
}
