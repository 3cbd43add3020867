package vfs

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// Free is what the file system gives to ordinary users, without its reserve.
func (OS) Free(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(filepath.FromSlash(dir), &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(min(s.Bavail, uint64(math.MaxInt64)/uint64(s.Bsize))) * int64(s.Bsize), nil
}

func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// OpenDirect falls back to the page cache where the file system knows no direct reads (memory, some network mounts).
func (o OS) OpenDirect(name string) (File, error) {
	f, err := os.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_DIRECT, 0)
	if errors.Is(err, syscall.EINVAL) {
		return openFile(name, os.O_RDONLY)
	}
	if err != nil {
		return nil, err
	}
	return directFile{osFile{f}}, nil
}

// directFile reads whole blocks into an aligned buffer, as O_DIRECT demands, and copies what was asked for.
type directFile struct{ osFile }

func (f directFile) ReadAt(p []byte, off int64) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	from := off / Block * Block
	buf := aligned(int((off + int64(len(p)) - from + Block - 1) / Block * Block))
	got, err := f.File.ReadAt(buf, from)
	if errors.Is(err, syscall.EINVAL) && got%Block != 0 { // the end of the file is no whole block, and reading on from there is refused
		err = io.EOF
	}
	n = copy(p, buf[min(off-from, int64(got)):got])
	if n == len(p) {
		return n, nil
	}
	return n, err
}

// aligned returns n bytes that begin on a block.
func aligned(n int) []byte {
	raw := make([]byte, n+Block)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) % Block)
	return raw[skip : skip+n]
}
