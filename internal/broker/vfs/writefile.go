package vfs

import (
	"errors"
	"io/fs"
	"path"
)

// WriteFile writes a small file whole and makes it and its name durable: a crash at any moment leaves the old file, or none where there was none, or the new one.
// It goes through a file with ".new" after the name, and replaces one that a crash left there. After an error either file may be there, whole. One call at a
// time for a name.
func WriteFile(fsys FS, name string, data []byte) error {
	temporary := name + ".new"
	if err := fsys.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(temporary)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Datasync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(temporary, name); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}
