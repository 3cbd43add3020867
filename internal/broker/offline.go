package broker

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
	"github.com/waybillmq/waybill/internal/broker/replica"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// ClusterOf is the uuid of the cluster that a folder belongs to, as text; empty when no node has begun there. The node may run.
func ClusterOf(dir string, fsys vfs.FS) (string, error) {
	id, err := readIdentity(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("broker: %w", err)
	}
	return id.clusterText(), nil
}

// Inspect opens the folder of a node that does not run, for reading alone: topics, bounds and records. It changes nothing. If the log is damaged, what stands
// before the damage is there, and [Node.Found] names it. Close gives the folder back.
func Inspect(dir string, fsys vfs.FS) (*Node, error) {
	cfg := Config{Dir: dir}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	id, err := readIdentity(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	n, machines := newNode(cfg, id)
	close(n.ended)
	recovery := replica.NewRecovery()
	if n.log, n.found, err = commitlog.OpenRead(n.logConfig(fsys), recovery.Record); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	return n, n.recover(machines, recovery)
}

// Close ends the use of a node that was inspected.
func (n *Node) Close() error { return n.log.Close() }

// Report is what Verify found.
type Report struct {
	commitlog.Report
	Batches int      // record batches whose own crc was checked
	Bad     []string // record batches whose crc is wrong although their frame is good
}

// Verify reads every frame of a node that does not run, and the crc of every record batch. It changes nothing.
func Verify(dir string, fsys vfs.FS) (r Report, err error) {
	id, err := readIdentity(fsys, dir)
	if err != nil {
		return r, fmt.Errorf("broker: %w", err)
	}
	r.Report, err = commitlog.Verify(commitlog.Config{FS: fsys, Dir: dir, Node: id.node, Cluster: id.cluster}, func(p commitlog.Position, rec commitlog.Record) error {
		if rec.Kind != commitlog.KindEntry || rec.Stream == 0 || len(rec.Body) == 0 {
			return nil
		}
		entry, err := fsm.ParseEntry(rec.Body)
		if err != nil {
			r.Bad = append(r.Bad, fmt.Sprintf("segment %d, byte %d, group %d, entry %d: %v", p.Segment, p.At, rec.Stream, rec.Index, err))
			return nil
		}
		for i, c := range entry.Commands {
			if c.Type != fsm.CommandAppend {
				continue
			}
			r.Batches++
			a, err := fsm.ParseAppend(c.Body)
			if err == nil {
				_, err = fsm.ParseBatch(a.Batch)
			}
			if err != nil {
				r.Bad = append(r.Bad, fmt.Sprintf("segment %d, byte %d, group %d, entry %d, command %d: %v", p.Segment, p.At, rec.Stream, rec.Index, i, err))
			}
		}
		return nil
	})
	if err != nil {
		return r, fmt.Errorf("broker: %w", err)
	}
	return r, nil
}

// Repair cuts the log of a node that does not run at its first damage. What is cut off lies in its folder quarantine afterwards.
func Repair(dir string, fsys vfs.FS) (commitlog.Lost, error) {
	id, err := readIdentity(fsys, dir)
	if err != nil {
		return commitlog.Lost{}, fmt.Errorf("broker: %w", err)
	}
	lost, err := commitlog.Repair(commitlog.Config{FS: fsys, Dir: dir, Node: id.node, Cluster: id.cluster})
	if err != nil {
		return lost, fmt.Errorf("broker: %w", err)
	}
	return lost, nil
}
