package vfs

import (
	"io"
	"io/fs"
)

// memoryFile is an open file of a [Memory]. Several may share an inode.
type memoryFile struct {
	m      *Memory
	inode  *inode
	name   string
	closed bool // guarded by m.mu
}

// do runs f under the lock, unless the file is closed.
func (f *memoryFile) do(op string, work func(i *inode) error) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	}
	return work(f.inode)
}

func (f *memoryFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.do("read", func(i *inode) error {
		if off < int64(len(i.data)) {
			n = copy(p, i.data[off:])
		}
		if n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (f *memoryFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.do("write", func(i *inode) error {
		if end := off + int64(len(p)); end > int64(len(i.data)) {
			i.resize(end)
		}
		n = copy(i.data[off:], p)
		i.touch(off, off+int64(n))
		return nil
	})
	return n, err
}

func (f *memoryFile) Datasync() error {
	return f.do("datasync", func(i *inode) error {
		size := len(i.data)
		i.synced = append(i.synced[:min(len(i.synced), size)], make([]byte, size-min(len(i.synced), size))...)
		for s := range i.dirty {
			if lo := s * sector; lo < int64(size) {
				copy(i.synced[lo:min(lo+sector, int64(size))], i.data[lo:])
			}
		}
		clear(i.dirty)
		return nil
	})
}

// lose makes what is not synced look synced. Reads still see it; no crash will keep it.
func (f *memoryFile) lose() {
	_ = f.do("lose", func(i *inode) error {
		clear(i.dirty)
		return nil
	})
}

func (f *memoryFile) Preallocate(size int64) error {
	return f.do("preallocate", func(i *inode) error {
		if size > int64(len(i.data)) {
			i.resize(size)
		}
		return nil
	})
}

func (f *memoryFile) Truncate(size int64) error {
	return f.do("truncate", func(i *inode) error {
		i.resize(size)
		return nil
	})
}

func (f *memoryFile) Size() (size int64, err error) {
	err = f.do("size", func(i *inode) error {
		size = int64(len(i.data))
		return nil
	})
	return size, err
}

func (f *memoryFile) Close() error {
	return f.do("close", func(*inode) error {
		f.closed = true
		return nil
	})
}
