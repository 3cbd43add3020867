package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/doctor"
)

// folders are those in which this program keeps data that must outlive it.
func folders(c *config.Config) []doctor.Folder {
	if !c.Broker.Enabled {
		return nil
	}
	f := doctor.Folder{Key: "broker.dir", Path: c.Broker.Dir, Kind: fileSystem(c.Broker.Dir), Free: -1}
	if free, err := (vfs.OS{}).Free(c.Broker.Dir); err == nil { // it is made at the first start
		f.Free = free
	}
	return []doctor.Folder{f}
}

// cacheFolder looks at the folder of the degraded cache, and at where it would be made when it is not there yet. It writes nothing; nil = there is no cache.
func cacheFolder(c *config.Config) *doctor.CacheFolder {
	if !c.Cache.Enabled {
		return nil
	}
	f := &doctor.CacheFolder{Folder: doctor.Folder{Key: "cache.dir", Path: c.Cache.Dir, Free: -1}, MinFree: int64(c.Cache.MinFree), Max: int64(c.Cache.MaxBytes), Used: -1}
	at, info, err := standing(c.Cache.Dir)
	if err != nil {
		f.Err = err
		return f
	}
	if at == filepath.Clean(c.Cache.Dir) {
		f.Mode = info.Mode()
	}
	f.Kind, f.Used = fileSystem(at), filesBelow(c.Cache.Dir)
	if free, err := (vfs.OS{}).Free(at); err == nil {
		f.Free = free
	}
	const writeAndEnter = 2 | 1 // access(2)
	if err := syscall.Access(at, writeAndEnter); err != nil {
		f.Err = fmt.Errorf("write in %s: %w", at, err)
	}
	return f
}

// standing is a folder that is there: dir, or the nearest above it.
func standing(dir string) (string, fs.FileInfo, error) {
	dir = filepath.Clean(dir)
	info, err := os.Stat(dir)
	switch {
	case err == nil && !info.IsDir():
		return "", nil, fmt.Errorf("%s is no folder", dir)
	case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
		return standing(filepath.Dir(dir))
	}
	return dir, info, err
}

// filesBelow is the size of all files of a folder, 0 when it is not there yet, -1 when it cannot be read.
func filesBelow(dir string) (n int64) {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // the cache removes files all the time
			return nil
		}
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return -1
	}
	return n
}

// databaseRoom is the room on the disk of the database, where that is certainly a disk of this machine; below 0 = not known, and why.
func databaseRoom(g postgres.GrowthFacts) (free int64, why string) {
	switch {
	case !g.Here:
		return -1, "the server is not certainly on this machine"
	case g.Dir == "":
		return -1, "this login may not know the data folder of the server (pg_monitor may)"
	case g.Spread:
		return -1, "tables lie in a tablespace of their own"
	}
	free, err := (vfs.OS{}).Free(g.Dir)
	if err != nil {
		return -1, err.Error()
	}
	return free, ""
}
