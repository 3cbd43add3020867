package spool

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
)

// mend replaces a damaged queue by one that has its acks, as far as they can be read: an ack is a fact. It has no messages: those that cannot be read may stand in
// front of the others of their lanes, and the table has them all. A crash meanwhile leaves the damaged queue, or the new one.
func (o *opening) mend() error {
	x := newIndex(o.valid)
	acks := map[place]commitlog.Record{}
	report, err := commitlog.Verify(o.log(queueDir), func(p commitlog.Position, r commitlog.Record) error {
		if r.Kind == kindAck {
			r.Body = slices.Clone(r.Body)
			acks[placeOf(p)] = r
		}
		x.record(p, &r)
		return nil
	})
	if err != nil || len(report.Damage) == 0 { // none: the disk gives it now
		return err
	}
	o.found.Damage, o.found.Left = report.Damage[0], x.messages
	var kept []commitlog.Record
	for _, l := range x.lanes {
		for _, e := range l.entries {
			if r, waits := acks[e.ack]; waits {
				kept = append(kept, r)
			}
		}
	}
	name := mendedPre + hex.EncodeToString(o.id.log[:])
	if err := o.makeMended(path.Join(o.cfg.Dir, name), kept); err != nil {
		return err
	}
	if o.found.Quarantine, err = o.rename(damagedPre); err != nil {
		return err
	}
	return o.finishMending()
}

// makeMended makes a queue with acks, or completes one that a crash left.
func (o *opening) makeMended(folder string, acks []commitlog.Record) error {
	if err := o.cfg.FS.MakeDir(folder); err != nil {
		return err
	}
	id, err := readIdentity(o.cfg.FS, folder)
	if errors.Is(err, fs.ErrNotExist) {
		id = o.id
		id.log = newLogID()
		err = id.write(o.cfg.FS, folder)
	}
	if err != nil {
		return err
	}
	o.id = id
	if err := o.cfg.FS.SyncDir(o.cfg.Dir); err != nil {
		return err
	}
	return appendAll(o.log(path.Base(folder)), acks)
}

// finishMending makes a mended queue the queue when there is none: the damaged one has its other name by then.
func (o *opening) finishMending() error {
	names, err := o.cfg.FS.List(o.cfg.Dir)
	if err != nil || slices.Contains(names, queueDir) {
		return err
	}
	i := slices.IndexFunc(names, func(name string) bool { return strings.HasPrefix(name, mendedPre) })
	if i < 0 {
		return nil
	}
	return errors.Join(o.cfg.FS.Rename(path.Join(o.cfg.Dir, names[i]), path.Join(o.cfg.Dir, queueDir)), o.cfg.FS.SyncDir(o.cfg.Dir))
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
