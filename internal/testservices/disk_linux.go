package testservices

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Disk is a file system of its own and of a fixed size, for one test.
type Disk struct {
	Dir string // where it is mounted

	ballast string
}

// SmallDisk mounts a file system in memory, and unmounts it at the end of the test: give it out before the server that lies on it is started. It needs
// root, in a container CAP_SYS_ADMIN.
func SmallDisk(tb testing.TB, bytes int64) *Disk {
	tb.Helper()
	space, err := processSpace()
	if err != nil {
		tb.Fatal(err)
	}
	dir, err := space.folder("disk")
	if err == nil {
		err = syscall.Mount("waybill-test", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, fmt.Sprintf("size=%d,mode=0755", bytes))
	}
	if err != nil {
		tb.Fatalf("mount a file system of %d bytes: %v; run this test as root, in a container with the capability SYS_ADMIN", bytes, err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(syscall.Unmount(dir, syscall.MNT_DETACH), os.Remove(dir)); err != nil {
			tb.Errorf("unmount %s: %v", dir, err)
		}
	})
	return &Disk{Dir: dir, ballast: filepath.Join(dir, "ballast")}
}

// Fill leaves at most that many bytes free.
func (d *Disk) Fill(free int64) error {
	file, err := os.OpenFile(d.ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	for {
		var s syscall.Statfs_t
		if err := syscall.Statfs(d.Dir, &s); err != nil {
			return err
		}
		left := int64(s.Bavail)*s.Bsize - free
		if left <= 0 {
			return nil
		}
		if _, err := file.Write(make([]byte, min(left, 1<<20))); err != nil && !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
}

// Free takes the filling away.
func (d *Disk) Free() error { return os.Remove(d.ballast) }

// unmountBelow unmounts what a test process that was killed has left below a folder.
func unmountBelow(dir string) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") { // proc(5): the mount point
			_ = syscall.Unmount(fields[4], syscall.MNT_DETACH)
		}
	}
}
