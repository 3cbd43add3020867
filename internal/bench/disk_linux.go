package bench

import (
	"errors"
	"os"
	"syscall"
)

// Magic numbers of file systems without a disk (statfs(2)).
const (
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458f6
)

// quietDisk waits until what earlier runs wrote is on the disk: it would delay the commits of the next one.
func quietDisk() { syscall.Sync() }

// inMemory says whether a folder lies in memory.
func inMemory(dir string) bool {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return false
	}
	return uint32(fs.Type) == tmpfsMagic || uint32(fs.Type) == ramfsMagic
}

// fadvDontNeed is POSIX_FADV_DONTNEED (posix_fadvise(2)).
const fadvDontNeed = 4

// dropCache makes the next read of a file, whose bytes are all on the disk, come from there.
func dropCache(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	if _, _, code := syscall.Syscall6(syscall.SYS_FADVISE64, f.Fd(), 0, 0, fadvDontNeed, 0, 0); code != 0 {
		err = os.NewSyscallError("fadvise", code)
	}
	return errors.Join(err, f.Close())
}
