package bench

import "syscall"

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
