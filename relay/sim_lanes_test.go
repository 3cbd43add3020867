package relay_test

import "testing"

// TestSimulationOfOtherLanes runs the engine against a broker that is down most of the time and changes its lanes, while the outbox is read again and again
// from the beginning. Nothing is lost, no key changes its order.
func TestSimulationOfOtherLanes(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed int64) { simulateOutages(t, seed, nil) })
}
