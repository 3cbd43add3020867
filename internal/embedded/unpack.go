package embedded

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// limits bound what an archive may make of itself.
type limits struct {
	bytes   int64 // of all files
	entries int   // files and folders
}

// unpackLimits are several times what the pinned archives hold: 61 MB, 2076 entries.
var unpackLimits = limits{bytes: 256 << 20, entries: 10_000}

// unpack makes dir and fills it with the files of a zip file. Only files and folders below dir are made: a name that leads out of it, a link, a device or a
// name twice is refused with an error, and so is an archive beyond max. Every user may read what it made, and run what the archive lets its owner run,
// whatever the umask: PostgreSQL may have to run as another user. After an error dir holds a part.
func unpack(ctx context.Context, file, dir string, max limits) error {
	z, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer z.Close()
	if len(z.File) > max.entries {
		return fmt.Errorf("the archive is refused: it holds %d files, more than %d", len(z.File), max.entries)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // a second wall behind the check of names
	if err != nil {
		return err
	}
	defer root.Close()
	u := unpacker{root: root, left: max.bytes}
	for _, f := range z.File {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := u.entry(f); err != nil {
			return fmt.Errorf("%q in the archive: %w", f.Name, err)
		}
	}
	return openFolders(dir)
}

type unpacker struct {
	root *os.Root
	left int64 // bytes that may still be written
}

func (u *unpacker) entry(f *zip.File) error {
	name := strings.TrimSuffix(f.Name, "/")
	if !filepath.IsLocal(name) || strings.ContainsAny(name, "\\\x00") || path.Clean(name) != name {
		return fmt.Errorf("refused, a name that may lead out of the folder")
	}
	switch mode := f.Mode(); {
	case mode.IsDir():
		return u.root.MkdirAll(name, 0o755)
	case mode.IsRegular():
		if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		return u.file(f, name)
	default:
		return fmt.Errorf("refused, neither a file nor a folder (%s)", mode)
	}
}

func (u *unpacker) file(f *zip.File, name string) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	n, err := io.Copy(out, io.LimitReader(in, u.left+1))
	if err != nil {
		return err
	}
	if u.left -= n; u.left < 0 {
		return fmt.Errorf("refused, the archive is larger than a PostgreSQL can be")
	}
	perm := fs.FileMode(0o644)
	if f.Mode()&0o100 != 0 {
		perm = 0o755
	}
	if err := out.Chmod(perm); err != nil { // not at opening: the umask would take from it
		return err
	}
	return out.Close()
}

// openFolders lets every user through, whatever the umask.
func openFolders(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}
