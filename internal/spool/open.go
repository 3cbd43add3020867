package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// What lies in the folder of a cache.
const (
	lockFile = "lock"
	queueDir = "queue"  // identity and log
	asidePre = "aside-" // and a time: queues that were set aside
)

// Config says where a cache lies and what it may take.
type Config struct {
	FS  vfs.FS
	Dir string // made when it is missing, with its parents; nothing else lies in it
	// MaxBytes bounds what the log takes on the disk; the default is 4 GiB. From there on messages are refused, a little earlier than acks.
	MaxBytes int64
	// MinFree is how many bytes stay free on the file system: below it messages are refused. The default is 1 GiB.
	MinFree int64
	// MaxMessages bounds the memory, of which a cached message takes up to 50 bytes; the default is 4 million.
	MaxMessages int
	// SegmentBytes is the length of the files; the default is 16 MiB, or a 16th of MaxBytes when that is less.
	SegmentBytes int64
}

func (c *Config) complete() error {
	if c.MaxBytes == 0 {
		c.MaxBytes = 4 << 30
	}
	if c.MinFree == 0 {
		c.MinFree = 1 << 30
	}
	if c.MaxMessages == 0 {
		c.MaxMessages = 4 << 20
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = min(16<<20, c.MaxBytes/16/vfs.Block*vfs.Block)
	}
	if c.SegmentBytes < 4*vfs.Block || c.MaxBytes/c.SegmentBytes <= reserved {
		return fmt.Errorf("degraded cache: %d bytes with files of %d: there must be room for more than %d files", c.MaxBytes, c.SegmentBytes, reserved)
	}
	return nil
}

// Owner is the outbox that uses a cache.
type Owner struct {
	System      int64 // system identifier of the database server
	Generations []relay.Generation
	Epoch       relay.Epoch
	Claimed     relay.ID // highest id ever claimed
}

// Found is what Open found.
type Found struct {
	Epoch    relay.Epoch // the highest that this folder remembers, of whichever outbox; 0 = none
	Claimed  relay.ID    // the highest claimed id
	Aside    string      // where a folder of another outbox was put; empty = there was none
	Why      error       // of Aside
	Damage   *commitlog.DamageError
	Left     int   // messages behind the damage that left the cache with it; those that cannot even be counted come on top
	Dropped  int   // messages and acks of another generation
	Unread   int   // records that are not what they should be
	Torn     int64 // bytes of a write that a crash interrupted; nobody was told that it was done
	Messages int   // that are there
	Acks     int
}

// Open locks the folder and recovers what is in it. A folder of another outbox is set aside under a name with the time. Damage costs the cache what stands at it
// and behind it, but for the acks that can be read; the bytes are kept in quarantine. An error that is [vfs.ErrLocked]: another process uses it;
// [commitlog.ErrVersion]: a newer program wrote it. After any error the folder is as it was, or another Open finishes what this one began.
//
// Open starts no goroutine: the cache works while [Spool.Run] runs.
func Open(cfg Config, who Owner) (_ *Spool, found Found, err error) {
	if err := cfg.complete(); err != nil {
		return nil, found, err
	}
	valid, err := newHistory(who.Generations)
	if err != nil {
		return nil, found, fmt.Errorf("degraded cache: %w", err)
	}
	if err := makeFolder(cfg.FS, cfg.Dir); err != nil {
		return nil, found, fmt.Errorf("degraded cache: %w", err)
	}
	lock, err := lockFolder(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, found, err
	}
	o := opening{cfg: cfg, who: who, valid: valid}
	s, err := o.open()
	if err != nil {
		return nil, o.found, errors.Join(fmt.Errorf("degraded cache in %s: %w", cfg.Dir, err), lock.Close())
	}
	s.lock = lock
	return s, o.found, nil
}

func lockFolder(fsys vfs.FS, dir string) (io.Closer, error) {
	lock, err := fsys.Lock(path.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("degraded cache in %s: %w", dir, err)
	}
	return lock, nil
}

// makeFolder makes a folder and the parents that are missing, durably. Parents that are there are synced too: who made them may have died before.
func makeFolder(fsys vfs.FS, dir string) error {
	parent := path.Dir(dir)
	if parent == dir {
		return nil
	}
	if err := makeFolder(fsys, parent); err != nil {
		return err
	}
	if err := fsys.MakeDir(dir); err != nil {
		return err
	}
	if err := fsys.SyncDir(parent); !errors.Is(err, fs.ErrPermission) { // not ours, so it is older than we are
		return err
	}
	return nil
}

// opening is one Open.
type opening struct {
	cfg   Config
	who   Owner
	valid history
	found Found
	id    identity
}

func (o *opening) open() (*Spool, error) {
	if err := o.identify(); err != nil {
		return nil, err
	}
	s, err := o.recover()
	if errors.Is(err, commitlog.ErrForeign) { // the identity is ours, the log behind it is not
		if err := o.setAside(err); err != nil {
			return nil, err
		}
		s, err = o.recover()
	}
	return s, err
}

// identify reads whose the folder is, sets it aside when it is another's, and writes who uses it now.
func (o *opening) identify() error {
	queue := path.Join(o.cfg.Dir, queueDir)
	if err := o.cfg.FS.MakeDir(queue); err != nil {
		return err
	}
	old, err := readIdentity(o.cfg.FS, queue)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if segments, err := commitlog.Segments(o.cfg.FS, queue); err == nil && len(segments) > 0 {
			return o.setAside(errors.New("it holds a log and no file \"identity\""))
		}
		return o.begin(newLogID())
	case errors.Is(err, errIdentity):
		return o.setAside(err)
	case err != nil:
		return err
	}
	o.found.Epoch, o.found.Claimed = old.epoch, old.claimed
	switch {
	case old.system != o.who.System:
		return o.setAside(fmt.Errorf("it is of the database server %d, this one is %d", old.system, o.who.System))
	case !o.valid.knows(old.outbox):
		return o.setAside(errors.New("it is of an outbox that this database does not know"))
	}
	return o.begin(old.log)
}

// begin writes the identity.
func (o *opening) begin(log uuid) error {
	o.id = identity{outbox: o.valid[len(o.valid)-1].uuid, log: log, system: o.who.System, epoch: max(o.found.Epoch, o.who.Epoch), claimed: max(o.found.Claimed, o.who.Claimed)}
	if o.found.Aside != "" { // what another outbox claimed is not ours
		o.id.epoch, o.id.claimed = o.who.Epoch, o.who.Claimed
	}
	if err := o.cfg.FS.SyncDir(o.cfg.Dir); err != nil {
		return err
	}
	return o.id.write(o.cfg.FS, path.Join(o.cfg.Dir, queueDir))
}

// setAside gives what is there another name, and begins anew.
func (o *opening) setAside(why error) error {
	names, err := o.cfg.FS.List(o.cfg.Dir)
	if err != nil {
		return err
	}
	name := asidePre + time.Now().UTC().Format("20060102T150405Z")
	for n := 2; slices.Contains(names, name); n++ {
		name = fmt.Sprintf("%s%s-%d", asidePre, time.Now().UTC().Format("20060102T150405Z"), n)
	}
	o.found.Aside, o.found.Why = path.Join(o.cfg.Dir, name), why
	queue := path.Join(o.cfg.Dir, queueDir)
	if err := o.cfg.FS.Rename(queue, o.found.Aside); err != nil {
		return err
	}
	if err := o.cfg.FS.SyncDir(o.cfg.Dir); err != nil {
		return err
	}
	if err := o.cfg.FS.MakeDir(queue); err != nil {
		return err
	}
	return o.begin(newLogID())
}

// recover opens the log; damage is mended once.
func (o *opening) recover() (*Spool, error) {
	log := o.id.logConfig(o.cfg.FS, o.cfg.Dir, o.cfg.SegmentBytes)
	s, err := o.read(log)
	if errors.As(err, &o.found.Damage) {
		if err := o.mend(log); err != nil {
			return nil, err
		}
		s, err = o.read(log)
	}
	return s, err
}

func (o *opening) read(log commitlog.Config) (*Spool, error) {
	x := newIndex(o.valid)
	l, found, err := commitlog.Open(log, func(p commitlog.Position, r commitlog.Record) error {
		x.record(p, &r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	o.found.Torn += found.Torn
	o.found.Dropped, o.found.Unread, o.found.Messages, o.found.Acks = x.dropped, x.unread, x.messages, 0
	for _, lane := range x.lanes {
		o.found.Acks += lane.acks
	}
	x.damaged += o.found.Left
	segments, err := commitlog.Segments(log.FS, log.Dir)
	if err != nil || len(segments) == 0 {
		return nil, errors.Join(err, errors.New("its segments are gone"), l.Close())
	}
	return newSpool(o.cfg, o.id, l, x, segments[0], segments[len(segments)-1]), nil
}

// mend cuts the log at its first damage. Acks behind it that can be read, and what was forgotten there, are written again at its end: an ack is a fact. The
// messages are not: a lane must not go on behind one that is missing, and the table has them all.
func (o *opening) mend(log commitlog.Config) error {
	var messages []place
	var others []commitlog.Record
	var places []place // of others
	_, err := commitlog.Verify(log, func(p commitlog.Position, r commitlog.Record) error {
		switch r.Kind {
		case kindMessage:
			messages = append(messages, placeOf(p))
		case kindAck, kindForget:
			r.Body = slices.Clone(r.Body)
			others, places = append(others, r), append(places, placeOf(p))
		}
		return nil
	})
	if err != nil {
		return err
	}
	o.found.Damage = nil
	for { // damage of a header hides what is in front of it
		lost, err := commitlog.Repair(log)
		if err != nil {
			return err
		}
		if lost.Damage == nil {
			break
		}
		o.found.Damage = lost.Damage
	}
	if o.found.Damage == nil {
		return nil // the disk gives it now
	}
	cut := placeOf(commitlog.Position{Segment: o.found.Damage.Segment, At: o.found.Damage.At})
	for _, p := range messages {
		if p >= cut {
			o.found.Left++
		}
	}
	first, _ := slices.BinarySearch(places, cut)
	if first == len(others) {
		return nil
	}
	return appendAll(log, others[first:])
}

// appendAll opens a log, appends records, and closes it.
func appendAll(cfg commitlog.Config, records []commitlog.Record) error {
	l, _, err := commitlog.Open(cfg, nil)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	for part := range slices.Chunk(records, 64) {
		if _, err = l.Append(part...); err != nil {
			break
		}
	}
	stop()
	return errors.Join(err, <-ended)
}
