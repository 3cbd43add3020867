package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/spool"
	"github.com/waybillmq/waybill/relay"
)

// degraded is the degraded cache of this process: one folder, opened by its first ownership.
type degraded struct {
	cfg spool.Config
	log *slog.Logger

	mu    sync.Mutex
	spool *spool.Spool // nil = not open
	stop  func() error // ends it
}

func newDegraded(c *config.Config, log *slog.Logger) *degraded {
	return &degraded{cfg: spool.Config{FS: vfs.OS{}, Dir: c.Cache.Dir, MaxBytes: int64(c.Cache.MaxBytes), MinFree: int64(c.Cache.MinFree)}, log: log}
}

// begin gives an ownership its cache; it is the Cache of relay.Options. One that has failed is opened anew.
func (d *degraded) begin(lease relay.Lease) (relay.Cache, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spool != nil && d.spool.Status().Closed != nil {
		d.close()
	}
	for {
		fresh, err := d.spool == nil, error(nil)
		if fresh {
			err = d.open(lease)
		}
		if err == nil {
			if _, err = d.spool.Begin(lease.Generations); err == nil {
				d.remember(lease.Epoch, lease.Claimed)
				return d.spool, nil
			}
			d.close()
		}
		if fresh {
			return nil, fmt.Errorf("%w; messages of a broker that is down wait in the table alone", err)
		}
	}
}

func (d *degraded) open(lease relay.Lease) error {
	s, found, err := spool.Open(d.cfg, spool.Owner{System: lease.System, Generations: lease.Generations, Epoch: lease.Epoch, Claimed: lease.Claimed})
	if err != nil {
		return err
	}
	if found.Aside != "" {
		d.log.Warn("the folder of the degraded cache was of another outbox and is set aside; delete it when nobody needs it", "folder", found.Aside, "why", found.Why)
	}
	if found.Damage != nil {
		d.log.Warn("the degraded cache was damaged; its messages come from the table, the acks that can be read are kept", "folder", found.Quarantine, "damage", found.Damage)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	d.spool, d.stop = s, func() error { cancel(); return <-ended }
	return nil
}

// recall is what the process before knew of the outbox.
func (d *degraded) recall() relay.Known {
	known, err := spool.Recall(d.cfg.FS, d.cfg.Dir)
	if err != nil {
		d.log.Warn("what the relay knew before its start cannot be read; a database that was put back to an older state will not be noticed", "dir", d.cfg.Dir, "err", err)
	}
	return known
}

// remember notes what was claimed, for the next process. The caller holds mu.
func (d *degraded) remember(epoch relay.Epoch, claimed relay.ID) {
	if d.spool == nil {
		return
	}
	if err := d.spool.Remember(epoch, claimed); err != nil && !errors.Is(err, relay.ErrCacheClosed) {
		d.log.Warn("what was claimed cannot be remembered on this disk; it is tried again", "err", err)
	}
}

// note is remember for a chore.
func (d *degraded) note(known relay.Known) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remember(known.Epoch, known.Claimed)
}

// close ends the cache, if it is open. The caller holds mu.
func (d *degraded) close() {
	if d.spool == nil {
		return
	}
	if err := d.stop(); err != nil && !errors.Is(err, relay.ErrCacheClosed) {
		d.log.Warn("the degraded cache has ended with an error; nothing is lost by it", "err", err)
	}
	d.spool = nil
}

// end is close for the end of the process, with what it knew.
func (d *degraded) end(known relay.Known) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remember(known.Epoch, known.Claimed)
	d.close()
}
