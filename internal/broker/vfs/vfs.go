// Package vfs is the file system as the bundled broker's log needs it: few operations, each with the durability it gives written down, so that a test can
// put a crash or an error at every one of them.
//
// [OS] is the real one. [Memory] keeps what was synced apart from what was only written, and [Memory.Crash] gives what a power cut may leave. [Inject] stands
// in front of either and fails or delays the operations a test picks.
//
// Three rules of disks that the callers rest on:
//
//   - Bytes of a file are durable after [File.Datasync] has returned without an error, and only what was written before it was called. After an error nothing
//     is known of them, and a second try proves nothing: the kernel may have marked the lost pages clean.
//   - A name is durable after [FS.SyncDir] of the folder it stands in. A new folder needs a SyncDir of its parent, else everything in it can be gone.
//   - A sector of 512 bytes is written whole or not at all; larger writes may be torn between sectors, in any order.
package vfs

import (
	"errors"
	"io"
)

// Block is the unit in bytes in which direct reads are done, and in which callers should lay out what must not share a page with synced bytes.
const Block = 4096

// ErrLocked means that another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// FS is a tree of folders and files. Names are paths with slashes; a missing name is an error that is [io/fs.ErrNotExist]. Its methods may be called from any
// goroutine.
type FS interface {
	// Create makes a new, empty file; a name that exists is an error that is [io/fs.ErrExist].
	Create(name string) (File, error)
	// Open opens an existing file.
	Open(name string) (File, error)
	// OpenDirect opens an existing file for reads that come from the disk and not from the page cache, where the system can: after a failed sync the cache may
	// hold what the disk does not.
	OpenDirect(name string) (File, error)
	// Rename gives a file another name in the same or another folder, atomically replacing a file of that name.
	Rename(from, to string) error
	Remove(name string) error
	// List returns the names in a folder, sorted, without the folder's own.
	List(dir string) ([]string, error)
	// MakeDir makes a folder whose parent exists; one that exists already is no error.
	MakeDir(dir string) error
	// SyncDir makes the names in a folder durable: those created, renamed and removed before the call.
	SyncDir(dir string) error
	// Free is how many bytes the file system that holds an existing folder still gives to this user.
	Free(dir string) (int64, error)
	// Lock takes the lock of a file, which is created when absent; [ErrLocked] when another process, or another Lock of this one, holds it. It ends with Close of
	// the result or with the process.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Its methods may be called from any goroutine, but not writes of the same bytes at once.
type File interface {
	// ReadAt is as in [io.ReaderAt].
	io.ReaderAt
	// WriteAt is as in [io.WriterAt]; nothing is durable yet.
	io.WriterAt
	// Datasync makes durable what was written before the call, and the length of the file. See the first rule of the package.
	Datasync() error
	// Preallocate fills the file with zeros up to size bytes, so that later writes below it neither grow the file nor change how it lies on disk. It makes
	// nothing durable. The error may be that the disk is full.
	Preallocate(size int64) error
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}
