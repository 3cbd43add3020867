package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ticks is the unit of CPU times in /proc: USER_HZ, 100 on every architecture that Go runs on (proc(5)).
const ticks = 100

// processCPU is the CPU time of process pid, with that of its children that it has waited for, and its parent; false = there is no such process.
func processCPU(pid int) (cpu time.Duration, parent int, ok bool) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	// The name, in parentheses, may hold anything: what follows the last one are the fields from the third on.
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return 0, 0, false
	}
	fields := strings.Fields(string(raw[end+1:]))
	if len(fields) < 15 {
		return 0, 0, false
	}
	var sum int64
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, false
		}
		sum += n
	}
	parent, err = strconv.Atoi(fields[1])
	return time.Duration(sum) * time.Second / ticks, parent, err == nil
}

// treeCPU is the CPU time of the processes roots and of all that descend from them. Backends that ended are in their postmaster's sum.
func treeCPU(roots ...int) time.Duration {
	type process struct {
		cpu    time.Duration
		parent int
	}
	all := map[int]process{}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is a constant: no syntax error
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if cpu, parent, ok := processCPU(pid); ok {
			all[pid] = process{cpu, parent}
		}
	}
	var sum time.Duration
	for pid, p := range all {
		for up, depth := pid, 0; up > 1 && depth < 100; up, depth = all[up].parent, depth+1 {
			if slices.Contains(roots, up) {
				sum += p.cpu
				break
			}
		}
	}
	return sum
}

// machineCPU is the time that all cores spent so far, busy and in all; false = it cannot be told here.
func machineCPU() (busy, all time.Duration, ok bool) {
	file, err := os.Open("/proc/stat")
	if err != nil {
		return 0, 0, false
	}
	defer file.Close()
	line, err := bufio.NewReader(file).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, false
	}
	for i, f := range fields[1:9] { // user nice system idle iowait irq softirq steal; guest is part of user
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, 0, false
		}
		d := time.Duration(n) * time.Second / ticks
		all += d
		if i != 3 && i != 4 {
			busy += d
		}
	}
	return busy, all, true
}

// meter tells which share of the machine other programs take.
type meter struct {
	ours            []int // processes that are part of the measurement, with their descendants
	busy, all, tree time.Duration
	ok              bool
}

func startMeter(ours []int) *meter {
	m := &meter{ours: ours}
	m.busy, m.all, m.ok = machineCPU()
	m.tree = treeCPU(ours...)
	return m
}

// foreign is the share since startMeter, 0 to 1; NaN = it cannot be told here.
func (m *meter) foreign() float64 {
	tree := treeCPU(m.ours...) - m.tree
	busy, all, ok := machineCPU()
	if !m.ok || !ok || all <= m.all {
		return math.NaN()
	}
	return max(0, float64(busy-m.busy-tree)/float64(all-m.all))
}

// peakMemory is the highest resident memory of a process so far, in bytes; 0 = it cannot be told here.
func peakMemory(pid int) int64 { return statusBytes(pid, "VmHWM:") }

// residentMemory is the resident memory of a process now, in bytes; 0 = it cannot be told here.
func residentMemory(pid int) int64 { return statusBytes(pid, "VmRSS:") }

func statusBytes(pid int, field string) int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, field); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// listeners finds the processes on this machine that listen on the ports of addresses: a broker that runs beside the measurement is part of it.
func listeners(addresses []string) []int {
	sockets := map[string]bool{}
	for _, address := range addresses {
		_, port, err := net.SplitHostPort(address)
		n, errN := strconv.Atoi(port)
		if err != nil || errN != nil {
			continue
		}
		for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
			raw, err := os.ReadFile(table)
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(raw)) {
				f := strings.Fields(line)
				if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) { // 0A = LISTEN (proc_net_tcp)
					sockets["socket:["+f[9]+"]"] = true
				}
			}
		}
	}
	if len(sockets) == 0 {
		return nil
	}
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && sockets[to] {
			if pid, err := strconv.Atoi(strings.Split(link, "/")[2]); err == nil && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
