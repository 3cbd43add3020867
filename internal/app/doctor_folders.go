package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

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
	f := &doctor.CacheFolder{Folder: doctor.Folder{Key: "cache.dir", Path: c.Cache.Dir, Free: -1}, MinFree: int64(c.Cache.MinFree)}
	at, info, err := standing(c.Cache.Dir)
	if err != nil {
		f.Err = err
		return f
	}
	if at == filepath.Clean(c.Cache.Dir) {
		f.Mode = info.Mode()
	}
	f.Kind = fileSystem(at)
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
