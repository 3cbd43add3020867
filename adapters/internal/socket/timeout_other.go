//go:build !linux

package socket

import (
	"syscall"
	"time"
)

// userTimeout has no counterpart here: the kernel's own limit holds.
func userTimeout(time.Duration) func(network, addr string, c syscall.RawConn) error { return nil }
