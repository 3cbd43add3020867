//go:build killpoints

package kp

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled says whether kill points and planted bugs are compiled in.
const Enabled = true

var (
	killAt, killAfter = parse(os.Getenv("WAYBILL_KILL")) // "claimed:3": SIGKILL at the third pass of that point
	passes            atomic.Int64
	planted           = Bug(os.Getenv("WAYBILL_BUG"))
)

func parse(s string) (Point, int64) {
	name, n, ok := strings.Cut(s, ":")
	if !ok {
		return Point(name), 1
	}
	after, err := strconv.ParseInt(n, 10, 64)
	if err != nil || after < 1 {
		panic("kp: WAYBILL_KILL must be POINT:N with N of 1 or more, got " + strconv.Quote(s))
	}
	return Point(name), after
}

// Hit kills the process when WAYBILL_KILL names this point and it is passed for the n-th time.
func Hit(p Point) {
	if killAt == "" || p != killAt || passes.Add(1) != killAfter {
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}

// Planted says whether WAYBILL_BUG names this bug.
func Planted(b Bug) bool { return planted != "" && b == planted }
