package bench

import (
	"math"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

func TestProcessesAreMeasured(t *testing.T) {
	self := os.Getpid()
	m := startMeter([]int{self})
	for began := ownCPU(); ownCPU()-began < 50*time.Millisecond; {
	}
	cpu, parent, ok := processCPU(self)
	if !ok || parent != os.Getppid() || cpu <= 0 {
		t.Errorf("this process: %v, parent %d, %v", cpu, parent, ok)
	}
	if grown := treeCPU(self) - m.tree; grown < 30*time.Millisecond {
		t.Errorf("50 ms of work show as %v", grown)
	}
	if share := m.foreign(); math.IsNaN(share) || share < 0 || share > 1 {
		t.Errorf("foreign share %v", share)
	}
	if mib := peakMemory(self) >> 20; mib < 1 || mib > 4096 {
		t.Errorf("peak memory %d MiB", mib)
	}
	if _, _, ok := processCPU(-1); ok || peakMemory(-1) != 0 {
		t.Error("a process that is none was measured")
	}
}

func TestListenersFindsWhoServesAPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if pids := listeners([]string{l.Addr().String(), "nonsense"}); !slices.Contains(pids, os.Getpid()) {
		t.Errorf("%s is served by %v, not by %d", l.Addr(), pids, os.Getpid())
	}
	if pids := listeners(nil); pids != nil {
		t.Errorf("nobody listens nowhere: %v", pids)
	}
}

func TestInMemory(t *testing.T) {
	if inMemory("/no/such/folder") {
		t.Error("a folder that is absent lies in memory")
	}
	if !inMemory("/dev/shm") {
		t.Error("/dev/shm does not lie in memory")
	}
}
