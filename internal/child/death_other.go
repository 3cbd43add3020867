//go:build unix && !linux

package child

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// DiesWithProgram says whether a child ends when this program is killed with kill -9.
const DiesWithProgram = false

func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}

// Children lists the process ids of the direct children of pid, in no order. Empty when pid is gone.
func Children(pid int) []int {
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil
	}
	var pids []int
	for _, word := range strings.Fields(string(out)) {
		if child, err := strconv.Atoi(word); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// Alive says whether a process with that id runs. A zombie, ended but not yet waited for, counts as gone.
func Alive(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

// Command is the command line of pid, arguments joined by blanks; empty when it is gone or may not be read.
func Command(pid int) string {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
