package vfs

import "io"

// Kind is an operation that [Inject] can fail.
type Kind int

// The operations, as the methods of [FS] and [File] are named; Write covers Truncate and Preallocate too.
const (
	Create Kind = iota + 1
	Open
	Rename
	Remove
	List
	MakeDir
	SyncDir
	Lock
	Read
	Write
	Datasync
	Free
)

// Op is an operation about to run.
type Op struct {
	Kind   Kind
	Name   string // of the file or folder; of a rename, the old one
	Offset int64  // of Read and Write
	Len    int    // of Read and Write, in bytes
}

// Hook is asked before each operation. It may wait, to make a disk slow. An error ends the operation with it; before that a Write writes the first `of` bytes,
// and a Datasync with of > 0 takes place although it reports the error. Any other failed Datasync of a [Memory] loses for good what it should have made durable,
// and the next one succeeds, as with a kernel that marks the lost pages clean. It is called from any goroutine.
type Hook func(Op) (of int, err error)

// Inject puts hook in front of every operation of under.
func Inject(under FS, hook Hook) FS { return injected{under, hook} }

type injected struct {
	under FS
	hook  Hook
}

func (i injected) ask(kind Kind, name string) error {
	_, err := i.hook(Op{Kind: kind, Name: name})
	return err
}

func (i injected) file(kind Kind, name string, open func(string) (File, error)) (File, error) {
	if err := i.ask(kind, name); err != nil {
		return nil, err
	}
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	return injectedFile{f, name, i.hook}, nil
}

func (i injected) Create(name string) (File, error) { return i.file(Create, name, i.under.Create) }
func (i injected) Open(name string) (File, error)   { return i.file(Open, name, i.under.Open) }
func (i injected) OpenDirect(name string) (File, error) {
	return i.file(Open, name, i.under.OpenDirect)
}

func (i injected) Rename(from, to string) error {
	if err := i.ask(Rename, from); err != nil {
		return err
	}
	return i.under.Rename(from, to)
}

func (i injected) Remove(name string) error {
	if err := i.ask(Remove, name); err != nil {
		return err
	}
	return i.under.Remove(name)
}

func (i injected) List(dir string) ([]string, error) {
	if err := i.ask(List, dir); err != nil {
		return nil, err
	}
	return i.under.List(dir)
}

func (i injected) MakeDir(dir string) error {
	if err := i.ask(MakeDir, dir); err != nil {
		return err
	}
	return i.under.MakeDir(dir)
}

func (i injected) SyncDir(dir string) error {
	if err := i.ask(SyncDir, dir); err != nil {
		return err
	}
	return i.under.SyncDir(dir)
}

func (i injected) Free(dir string) (int64, error) {
	if err := i.ask(Free, dir); err != nil {
		return 0, err
	}
	return i.under.Free(dir)
}

func (i injected) Lock(name string) (io.Closer, error) {
	if err := i.ask(Lock, name); err != nil {
		return nil, err
	}
	return i.under.Lock(name)
}

type injectedFile struct {
	File
	name string
	hook Hook
}

func (f injectedFile) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.hook(Op{Kind: Read, Name: f.name, Offset: off, Len: len(p)}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f injectedFile) WriteAt(p []byte, off int64) (int, error) {
	of, err := f.hook(Op{Kind: Write, Name: f.name, Offset: off, Len: len(p)})
	if err == nil {
		return f.File.WriteAt(p, off)
	}
	n, under := f.File.WriteAt(p[:min(max(of, 0), len(p))], off)
	if under != nil {
		err = under
	}
	return n, err
}

func (f injectedFile) Datasync() error {
	of, err := f.hook(Op{Kind: Datasync, Name: f.name})
	if err == nil || of > 0 {
		if under := f.File.Datasync(); under != nil {
			return under
		}
	} else if m, ok := f.File.(*memoryFile); ok {
		m.lose()
	}
	return err
}

func (f injectedFile) Preallocate(size int64) error {
	if _, err := f.hook(Op{Kind: Write, Name: f.name, Offset: size}); err != nil {
		return err
	}
	return f.File.Preallocate(size)
}

func (f injectedFile) Truncate(size int64) error {
	if _, err := f.hook(Op{Kind: Write, Name: f.name, Offset: size}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}
