package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// OS is the file system of the machine. Folders are made with mode 0700, files with 0600.
type OS struct{}

func (OS) Create(name string) (File, error) {
	return openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (OS) Open(name string) (File, error) { return openFile(name, os.O_RDWR) }

func (OS) Rename(from, to string) error {
	return os.Rename(filepath.FromSlash(from), filepath.FromSlash(to))
}

func (OS) Remove(name string) error { return os.Remove(filepath.FromSlash(name)) }

func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.FromSlash(dir)) // sorted
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (OS) MakeDir(dir string) error {
	err := os.Mkdir(filepath.FromSlash(dir), 0o700)
	if errors.Is(err, fs.ErrExist) {
		if info, statErr := os.Stat(filepath.FromSlash(dir)); statErr == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

func (OS) SyncDir(dir string) error {
	d, err := os.Open(filepath.FromSlash(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.FromSlash(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = &fs.PathError{Op: "lock", Path: name, Err: ErrLocked}
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// osFile is an *os.File with what it lacks.
type osFile struct{ *os.File }

func openFile(name string, flags int) (File, error) {
	f, err := os.OpenFile(filepath.FromSlash(name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Datasync() error { return datasync(f.File) }

var zeros [1 << 20]byte

// Preallocate writes the zeros: space that is only reserved makes each first write change metadata, and each sync wait for it.
func (f osFile) Preallocate(size int64) error {
	at, err := f.Size()
	for ; err == nil && at < size; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(size-at, int64(len(zeros)))], at)
	}
	return err
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
