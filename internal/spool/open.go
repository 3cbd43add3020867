package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/relay"
)

// What lies in the folder of a cache.
const (
	lockFile   = "lock"
	queueDir   = "queue"    // identity and log
	asidePre   = "aside-"   // and a time: queues of other outboxes
	damagedPre = "damaged-" // and a time: queues with damage
	mendedPre  = "mended-"  // and the log of the damaged one: what will be the queue
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
	Epoch      relay.Epoch // the highest that this folder remembers, of whichever outbox; 0 = none
	Claimed    relay.ID    // the highest claimed id
	Aside      string      // where a folder of another outbox was put; empty = there was none
	Why        error       // of Aside
	Damage     *commitlog.DamageError
	Quarantine string // where the damaged queue was put
	Left       int    // messages that left the cache because of it, those that cannot even be counted aside
	Dropped    int    // messages and acks of another generation
	Unread     int    // records that are not what they should be
	Torn       int64  // bytes of a write that a crash interrupted; nobody was told that it was done
	Messages   int    // that are there
	Acks       int
}

// Open locks the folder and recovers what is in it. A folder of another outbox is set aside under a name with the time. After damage no message is left in the
// cache, as nobody knows which ones are missing in front of the others; acks that can be read are, and the damaged files are kept. An error that is [vfs.ErrLocked]: another process uses it;
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
	if kp.Planted(kp.CacheParentUnsynced) {
		return nil
	}
	if err := fsys.SyncDir(parent); !errors.Is(err, fs.ErrPermission) { // not ours, so it is older than we are
		return err
	}
	return nil
}

// opening is one Open.
type opening struct {
	cfg    Config
	who    Owner
	valid  history
	found  Found
	former uuid // generation that the folder was left with
	id     identity
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
	if err := o.finishMending(); err != nil {
		return err
	}
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
	o.found.Epoch, o.found.Claimed, o.former = old.epoch, old.claimed, old.outbox
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
	if o.found.Aside != "" || o.former != o.id.outbox { // what another outbox claimed is not ours, and a new generation may draw ids anew
		o.id.epoch, o.id.claimed = o.who.Epoch, o.who.Claimed
	}
	if err := o.cfg.FS.SyncDir(o.cfg.Dir); err != nil {
		return err
	}
	return o.id.write(o.cfg.FS, path.Join(o.cfg.Dir, queueDir))
}

// setAside gives what is there another name, and begins anew.
func (o *opening) setAside(why error) (err error) {
	o.found.Why = why
	if o.found.Aside, err = o.rename(asidePre); err != nil {
		return err
	}
	if err := o.cfg.FS.MakeDir(path.Join(o.cfg.Dir, queueDir)); err != nil {
		return err
	}
	return o.begin(newLogID())
}

// rename gives the queue a name with the time, durably.
func (o *opening) rename(prefix string) (to string, err error) {
	names, err := o.cfg.FS.List(o.cfg.Dir)
	if err != nil {
		return "", err
	}
	at := prefix + time.Now().UTC().Format("20060102T150405Z")
	name := at
	for n := 2; slices.Contains(names, name); n++ {
		name = fmt.Sprintf("%s-%d", at, n)
	}
	to = path.Join(o.cfg.Dir, name)
	return to, errors.Join(o.cfg.FS.Rename(path.Join(o.cfg.Dir, queueDir), to), o.cfg.FS.SyncDir(o.cfg.Dir))
}

// recover opens the log; damage is mended once.
func (o *opening) recover() (*Spool, error) {
	s, err := o.read(o.log(queueDir))
	if errors.As(err, new(*commitlog.DamageError)) {
		if err := o.mend(); err != nil {
			return nil, err
		}
		s, err = o.read(o.log(queueDir))
	}
	return s, err
}

func (o *opening) log(folder string) commitlog.Config {
	return o.id.logConfig(o.cfg.FS, path.Join(o.cfg.Dir, folder), o.cfg.SegmentBytes)
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
