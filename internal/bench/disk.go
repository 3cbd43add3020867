package bench

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

const (
	diskPage = vfs.Block
	diskFile = 128 << 20 // bytes; writes begin anew at its end, as in a recycled file
)

// disk is a file filled with zeros, in which every write begins on a page of its own.
type disk struct {
	file vfs.File
	at   int64
	size int64
}

func makeDisk(dir, name string, size int64) (*disk, error) {
	f, err := vfs.OS{}.Create(path.Join(dir, name))
	if err != nil {
		return nil, err
	}
	d := &disk{file: f, size: size}
	if err := errors.Join(f.Preallocate(size), f.Datasync(), vfs.OS{}.SyncDir(dir)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

// write writes and syncs b, with zeros up to a page, and returns b to be used again.
func (d *disk) write(b []byte) ([]byte, error) {
	if left := len(b) % diskPage; left > 0 {
		b = append(b, make([]byte, diskPage-left)...)
	}
	if d.at+int64(len(b)) > d.size {
		d.at = 0
	}
	if _, err := d.file.WriteAt(b, d.at); err != nil {
		return b, err
	}
	d.at += int64(len(b))
	return b, d.file.Datasync()
}

// files is what a broker does that syncs each request by itself, Kafka with flush.messages=1: a lane is a file, and has one request at a time.
type files struct{ lanes []laneFile }

type laneFile struct {
	mu   sync.Mutex
	disk *disk
	buf  []byte
}

func makeFiles(dir string, lanes int) (*files, error) {
	f := &files{make([]laneFile, lanes)}
	for i := range f.lanes {
		var err error
		if f.lanes[i].disk, err = makeDisk(dir, fmt.Sprintf("lane-%d", i), max(diskFile/int64(lanes), 1<<20)); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, nil
}

func (f *files) put(_ context.Context, lane int, r *request) (err error) {
	l := &f.lanes[lane]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf, err = l.disk.write(append(l.buf[:0], r.batch...))
	return err
}

func (f *files) close() error {
	var errs []error
	for i := range f.lanes {
		if d := f.lanes[i].disk; d != nil {
			errs = append(errs, d.file.Close())
		}
	}
	return errors.Join(errs...)
}

// groups is the disk limit (D4): what waits while a sync runs is written and synced as one group, and nothing else is done.
type groups struct {
	disk  *disk
	wake  chan struct{} // one slot
	ended chan struct{}

	mu      sync.Mutex
	filling *diskGroup
	spare   []byte
}

type diskGroup struct {
	buf  []byte
	done chan struct{}
	err  error // set before done is closed
}

func makeGroups(dir string) (*groups, error) {
	d, err := makeDisk(dir, "groups", diskFile)
	if err != nil {
		return nil, err
	}
	g := &groups{disk: d, wake: make(chan struct{}, 1), ended: make(chan struct{}), filling: &diskGroup{done: make(chan struct{})}}
	go g.sync()
	return g, nil
}

func (g *groups) sync() {
	defer close(g.ended)
	for range g.wake {
		g.mu.Lock()
		group := g.filling
		g.filling = &diskGroup{buf: g.spare[:0], done: make(chan struct{})}
		g.spare = nil
		g.mu.Unlock()
		buf, err := g.disk.write(group.buf)
		group.err = err
		g.mu.Lock()
		g.spare = buf
		g.mu.Unlock()
		close(group.done)
	}
}

func (g *groups) put(_ context.Context, _ int, r *request) error {
	g.mu.Lock()
	group := g.filling
	group.buf = append(group.buf, r.batch...)
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
	<-group.done
	return group.err
}

// close must not run beside put.
func (g *groups) close() error {
	close(g.wake)
	<-g.ended
	return g.disk.file.Close()
}
