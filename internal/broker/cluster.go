package broker

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/replica"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// Message is what one node has to tell another.
type Message = replica.Message

// Cluster makes a node one of three. Nobody but tests runs three nodes yet.
type Cluster struct {
	Voters []uint64      // the nodes, this one included, as [Prepare] has named them
	Send   func(Message) // hands a message to the net; the rules are those of [replica.Config]
}

// Prepare makes the folder of a node of a cluster, or finds it, and returns the name of the node. An empty folder becomes a new node, never one that was lost: that
// one had promised things which nobody knows here. The folder's parent must exist.
func Prepare(dir string, cluster commitlog.UUID, fsys vfs.FS) (node uint64, err error) {
	if err := makeFolder(dir, fsys); err != nil {
		return 0, err
	}
	id, err := openIdentity(fsys, dir, cluster)
	if err == nil && id.cluster != cluster {
		err = fmt.Errorf("%s belongs to cluster %s, not to %s: %w", dir, id.clusterText(), identity{cluster: cluster}.clusterText(), commitlog.ErrForeign)
	}
	if err != nil {
		return 0, fmt.Errorf("broker: %w", err)
	}
	return id.raftID(), nil
}

func makeFolder(dir string, fsys vfs.FS) error {
	if err := fsys.MakeDir(dir); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if err := fsys.SyncDir(path.Dir(dir)); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

// check says why the node of a folder cannot be one of the cluster.
func (c *Cluster) check(id identity) error {
	switch {
	case slices.Contains(c.Voters, 0), len(slices.Compact(slices.Sorted(slices.Values(c.Voters)))) != len(c.Voters):
		return fmt.Errorf("nodes %d: each needs a name of its own, and none is 0; take what Prepare has returned", c.Voters)
	case len(c.Voters) != 3:
		return fmt.Errorf("%d nodes: a cluster has one or three; name all three, or none for a node that is alone", len(c.Voters))
	case !slices.Contains(c.Voters, id.raftID()):
		return fmt.Errorf("node %d is none of the cluster, which are %d: its folder is new, or another's; put the right one back", id.raftID(), c.Voters)
	case c.Send == nil:
		return errors.New("three nodes and no net between them: set Send of the cluster to what hands messages to the other two")
	}
	return nil
}

// fits says why a node whose log knows these voters cannot run in the cluster.
func (c *Cluster) fits(voters []uint64) error {
	switch {
	case c == nil && len(voters) > 1:
		return fmt.Errorf("this node is one of %d, and cannot run alone; name the cluster of %d", len(voters), voters)
	case c != nil && !slices.Equal(slices.Sorted(slices.Values(voters)), slices.Sorted(slices.Values(c.Voters))):
		return fmt.Errorf("the nodes of its cluster are %d, not %d; name those, or put the right folder back", voters, c.Voters)
	}
	return nil
}

// ID is the name of this node.
func (n *Node) ID() uint64 { return n.id.raftID() }

// Deliver takes a message that another node has sent, and keeps its body. The error is [replica.ErrMessage]. It never blocks.
func (n *Node) Deliver(m Message) error { return n.host.Deliver(m) }

// Dropped tells that a message was not sent.
func (n *Node) Dropped(m Message) { n.host.Dropped(m) }

// NotLeaderError means that another node leads what was asked for. It is an [ErrNotLeader]: nothing was stored.
type NotLeaderError struct {
	Group  uint16
	Leader uint64 // node; 0 = nobody is known to lead at the moment
}

func (e *NotLeaderError) Error() string {
	if e.Leader == 0 {
		return fmt.Sprintf("nobody leads group %d at the moment, as far as this node knows; ask again, or another node", e.Group)
	}
	return fmt.Sprintf("node %d leads group %d; ask that one", e.Leader, e.Group)
}

func (e *NotLeaderError) Unwrap() error { return ErrNotLeader }

// Leader is the node that leads what a partition lies in, as far as this one knows; 0 = it knows of none.
func (n *Node) Leader(topic string, partition int32) (uint64, error) {
	p, err := n.place(topic, partition)
	if err != nil {
		return 0, err
	}
	return n.host.Leader(p.Group), nil
}

// GroupLeader is the node that leads a group, as far as this one knows; 0 = it knows of none. [ErrUnknownGroup]: there is no such group.
func (n *Node) GroupLeader(group uint16) (uint64, error) {
	if err := known(group); err != nil {
		return 0, err
	}
	return n.host.Leader(group), nil
}

// known is an [ErrUnknownGroup] for what is none.
func known(group uint16) error {
	if group > DataGroups {
		return fmt.Errorf("group %d; there are 0 to %d: %w", group, DataGroups, ErrUnknownGroup)
	}
	return nil
}

// leads says whether this node may answer for a group.
func (n *Node) leads(group uint16) bool { return n.cfg.Cluster == nil || n.host.Leads(group) }

// mustLead is a [*NotLeaderError] unless it may.
func (n *Node) mustLead(group uint16) error {
	if !n.leads(group) {
		return n.elsewhere(group)
	}
	if n.cfg.Cluster != nil {
		select {
		case <-n.ended:
			return fmt.Errorf("%w: %w", ErrNotLeader, ErrStopped)
		default:
		}
	}
	return nil
}

func (n *Node) elsewhere(group uint16) error {
	e := &NotLeaderError{Group: group, Leader: n.host.Leader(group)}
	if e.Leader == n.ID() {
		e.Leader = 0 // it has just begun to
	}
	return e
}

// passedOn says whether a chore failed because another node leads by now, which does it.
func (n *Node) passedOn(err error) bool {
	return n.cfg.Cluster != nil && !errors.Is(err, commitlog.ErrFull) && (errors.Is(err, ErrNotLeader) || errors.Is(err, ErrLeadershipLost))
}

// whoLeads names the leader in an error that says that this node does not lead.
func (n *Node) whoLeads(group uint16, err error) error {
	if n.cfg.Cluster == nil || !errors.Is(err, ErrNotLeader) || errors.Is(err, commitlog.ErrFull) || errors.Is(err, ErrStopped) {
		return err
	}
	return n.elsewhere(group)
}
