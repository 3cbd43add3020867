package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"sync"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// Memory is a file system in memory that knows what was synced. The zero value is not usable; see [NewMemory]. Its methods may be called from any goroutine.
type Memory struct {
	mu    sync.Mutex // guards the whole tree: every folder, inode and lock
	root  *folder
	locks map[string]bool
	free  int64
}

// NewMemory returns an empty file system.
func NewMemory() *Memory {
	return &Memory{root: newFolder(), locks: map[string]bool{}, free: math.MaxInt64}
}

// folder is a folder: the names in it now, and those it had at its last sync with the changes since.
type folder struct {
	entries map[string]node
	synced  map[string]node
	changes []change
}

func newFolder() *folder { return &folder{entries: map[string]node{}, synced: map[string]node{}} }

// node is a *folder or an *inode.
type node any

// change is one unsynced change of names in a folder: name now stands for node, or for nothing when it is nil. A rename changes two names at once, maybe of two
// folders: both parts carry the same move and survive a crash together, as with a journalling file system.
type change struct {
	name string
	node node
	move *move // nil = no rename
}

// move ties the two changes of a rename together. It is durable as soon as one of its folders is synced.
type move struct{ durable bool }

func (f *folder) set(name string, n node, by *move) {
	if n == nil {
		delete(f.entries, name)
	} else {
		f.entries[name] = n
	}
	f.changes = append(f.changes, change{name, n, by})
}

// inode is the content of a file, now and at its last sync. It outlives its name.
type inode struct {
	data   []byte
	synced []byte
	dirty  map[int64]bool // sectors that differ, or may
}

// touch marks the sectors from lo to hi as not synced.
func (i *inode) touch(lo, hi int64) {
	for s := lo / sector; s*sector < hi; s++ {
		i.dirty[s] = true
	}
}

func (i *inode) resize(size int64) {
	old := int64(len(i.data))
	if size <= old {
		i.data = i.data[:size]
		return
	}
	i.data = append(i.data, make([]byte, size-old)...)
	i.touch(old, size)
}

// find returns the folder that holds name, and the last part of name.
func (m *Memory) find(name string) (*folder, string, error) {
	dir, last := path.Split(path.Clean(name))
	f := m.root
	for _, part := range splitPath(dir) {
		next, ok := f.entries[part].(*folder)
		if !ok {
			return nil, "", fs.ErrNotExist
		}
		f = next
	}
	return f, last, nil
}

func splitPath(name string) (parts []string) {
	for name = path.Clean("/" + name); name != "/"; name = path.Dir(name) {
		parts = append(parts, path.Base(name))
	}
	slices.Reverse(parts)
	return parts
}

func (m *Memory) folder(name string) (*folder, error) {
	f := m.root
	for _, part := range splitPath(name) {
		next, ok := f.entries[part].(*folder)
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		f = next
	}
	return f, nil
}

func (m *Memory) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, last, err := m.find(name)
	if err == nil && in.entries[last] != nil {
		err = fs.ErrExist
	}
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	i := &inode{dirty: map[int64]bool{}}
	in.set(last, i, nil)
	return &memoryFile{m: m, inode: i, name: name}, nil
}

func (m *Memory) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, last, err := m.find(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	i, ok := in.entries[last].(*inode)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memoryFile{m: m, inode: i, name: name}, nil
}

func (m *Memory) OpenDirect(name string) (File, error) { return m.Open(name) }

func (m *Memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	src, a, err := m.find(from)
	if err == nil && src.entries[a] == nil {
		err = fs.ErrNotExist
	}
	dst, b, err2 := m.find(to)
	if err := errors.Join(err, err2); err != nil {
		return &fs.PathError{Op: "rename", Path: from, Err: err}
	}
	by, n := new(move), src.entries[a]
	src.set(a, nil, by)
	dst.set(b, n, by)
	return nil
}

func (m *Memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, last, err := m.find(name)
	if err == nil && in.entries[last] == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	in.set(last, nil, nil)
	return nil
}

func (m *Memory) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := m.folder(dir)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(f.entries)), nil
}

func (m *Memory) MakeDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	in, last, err := m.find(dir)
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: err}
	}
	switch in.entries[last].(type) {
	case *folder:
		return nil
	case *inode:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
	}
	in.set(last, newFolder(), nil)
	return nil
}

func (m *Memory) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := m.folder(dir)
	if err != nil {
		return err
	}
	for _, c := range f.changes {
		if c.move != nil {
			c.move.durable = true
		}
	}
	f.synced, f.changes = maps.Clone(f.entries), nil
	return nil
}

// SetFree sets what Free answers; nothing else heeds it. A new file system has no end.
func (m *Memory) SetFree(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = bytes
}

func (m *Memory) Free(dir string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.folder(dir)
	return m.free, err
}

func (m *Memory) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	in, last, err := m.find(name)
	if err == nil && m.locks[name] {
		err = ErrLocked
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	if in.entries[last] == nil {
		in.set(last, &inode{dirty: map[int64]bool{}}, nil)
	}
	m.locks[name] = true
	return &memoryLock{m: m, name: name}, nil
}

type memoryLock struct {
	m    *Memory
	name string
}

func (l *memoryLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locks, l.name)
	return nil
}
