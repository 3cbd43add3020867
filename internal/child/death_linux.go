package child

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// DiesWithProgram says whether a child ends when this program is killed with kill -9.
const DiesWithProgram = true

func setDeathSignal(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// Children lists the process ids of the direct children of pid, in no order. Empty when pid is gone.
func Children(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, parent, ok := stat(child); ok && parent == pid {
			pids = append(pids, child)
		}
	}
	return pids
}

// Alive says whether a process with that id runs. A zombie, ended but not yet waited for, counts as gone.
func Alive(pid int) bool {
	state, _, ok := stat(pid)
	return ok && state != 'Z' && state != 'X'
}

// Command is the command line of pid, arguments joined by blanks; empty when it is gone or may not be read.
func Command(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return string(bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte{' '}))
}

// stat reads the state and the parent from /proc/PID/stat: "pid (name) state parent …", where the name may hold blanks and brackets (proc(5)).
func stat(pid int) (state byte, parent int, ok bool) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) < 2 || len(fields[0]) != 1 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(string(fields[1]))
	return fields[0][0], parent, err == nil
}
