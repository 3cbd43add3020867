package group

import (
	"time"

	"github.com/waybillmq/waybill/internal/kp"
)

// Partition is one of a topic.
type Partition struct {
	Topic     string
	Partition int32
}

// Offset is how far a group has consumed a partition.
type Offset struct {
	At       int64 // of the next record
	Epoch    int32 // leader epoch of the last record; -1 = not said
	Metadata string
	Time     time.Time // of the commit
}

// Commit is one line of a CommitRequest; its time is that of the call.
type Commit struct {
	Partition
	Offset
}

// CommitRequest is Kafka's OffsetCommit.
type CommitRequest struct {
	Identity
	Offsets []Commit
}

// Commit takes offsets from a member of the generation that runs, or from anybody for a group without members. codes[i] belongs to Offsets[i].
func (c *Coordinator) Commit(now time.Time, r CommitRequest) []Code {
	codes := make([]Code, len(r.Offsets))
	g, code := c.committer(now, r.Identity)
	for i, o := range r.Offsets {
		if codes[i] = code; code == None {
			codes[i] = c.commit(now, g, o)
		}
	}
	return codes
}

// committer is the group that a commit is for.
func (c *Coordinator) committer(now time.Time, r Identity) (*group, Code) {
	g := c.groups[r.Group]
	alone := r.Generation < 0
	switch {
	case g == nil && !alone:
		return nil, IllegalGeneration
	case g == nil && len(r.Group) > longestName:
		return nil, InvalidGroupID
	case g == nil:
		if g = c.made(r.Group); g == nil {
			return nil, InvalidCommitOffsetSize
		}
		return g, None
	case alone && g.state == Empty:
		return g, None
	case alone && r.Member == "" && r.Instance == "":
		return nil, UnknownMemberID
	}
	g, m, code := c.member(r)
	switch {
	case r.Group == "":
		return nil, IllegalGeneration // the group without a name has no members
	case code != None:
		return nil, code
	case r.Generation != g.generation && !kp.Planted(kp.CommitAnyGeneration):
		return nil, IllegalGeneration
	case g.state == CompletingRebalance:
		return nil, RebalanceInProgress
	}
	if !m.fresh {
		m.heard(now)
	}
	return g, None
}

func (c *Coordinator) commit(now time.Time, g *group, o Commit) Code {
	if len(o.Metadata) > c.cfg.MetadataBytes {
		return OffsetMetadataTooLarge
	}
	was, ok := g.offsets[o.Partition]
	more := offsetBytes(o.Partition, o.Offset)
	if ok {
		more -= offsetBytes(o.Partition, was)
	}
	if more > 0 && c.bytes+more > c.cfg.Bytes {
		return InvalidCommitOffsetSize
	}
	o.Time = now
	c.bytes += more
	g.offsets[o.Partition] = o.Offset
	if until := now.Add(c.cfg.Retention); len(g.offsets) == 1 || g.expiry.IsZero() {
		g.expiry = until
	}
	g.stored = true
	c.change(Change{Kind: OffsetStored, Group: g.id, Partition: o.Partition, Offset: o.Offset})
	return None
}

func offsetBytes(p Partition, o Offset) int64 {
	return int64(offsetWeight + len(p.Topic) + len(o.Metadata))
}

// Offsets are all that a group has committed, by topic and partition.
func (c *Coordinator) Offsets(id string) []Commit {
	if g := c.groups[id]; g != nil {
		return g.commits()
	}
	return nil
}

// expire gives up the offsets of a group that has had no member for long, and of one that never had any those that were not committed for long (KIP-211).
func (c *Coordinator) expire(now time.Time, g *group) {
	if g.state != Empty || !passed(now, g.expiry) {
		return
	}
	g.expiry = time.Time{}
	for _, o := range g.commits() {
		from := o.Time
		if g.since.After(from) {
			from = g.since
		}
		until := from.Add(c.cfg.Retention)
		if passed(now, until) {
			c.dropOffset(g, o.Partition)
		} else if g.expiry.IsZero() || until.Before(g.expiry) {
			g.expiry = until
		}
	}
}

func (c *Coordinator) dropOffset(g *group, p Partition) {
	c.bytes -= offsetBytes(p, g.offsets[p])
	delete(g.offsets, p)
	c.change(Change{Kind: OffsetForgotten, Group: g.id, Partition: p})
}

// DeleteOffsets gives up offsets of a group: Kafka's OffsetDelete. codes[i] belongs to list[i]; what was not there is no error.
func (c *Coordinator) DeleteOffsets(id string, list []Partition) (codes []Code, whole Code) {
	g := c.groups[id]
	switch {
	case id == "":
		return nil, InvalidGroupID
	case g == nil:
		return nil, GroupIDNotFound
	case len(g.members) > 0 && g.kind != consumers:
		return nil, NonEmptyGroup // nobody can say what it consumes
	}
	subscribed := g.subscribed()
	for _, p := range list {
		switch _, ok := g.offsets[p]; {
		case subscribed[p.Topic]:
			codes = append(codes, GroupSubscribedToTopic)
			continue
		case ok:
			c.dropOffset(g, p)
		}
		codes = append(codes, None)
	}
	return codes, None
}

// TopicGone gives up all offsets of a topic that was deleted: a new one of its name begins anew.
func (c *Coordinator) TopicGone(topic string) {
	for _, g := range c.listed() {
		for _, o := range g.commits() {
			if o.Topic == topic {
				c.dropOffset(g, o.Partition)
			}
		}
	}
}
