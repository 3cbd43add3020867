package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// Topic describes a topic.
type Topic struct {
	Name       string
	Partitions int
	Retention  time.Duration // negative = for ever
	Bytes      int64         // each partition keeps at most this much; negative = no bound
	MaxBatch   int           // most bytes of a record batch; MaxMessage for every topic of a Node, whatever CreateTopic is told
}

// Topics returns all topics by name.
func (n *Node) Topics() (list []Topic) {
	for _, t := range n.meta.topics() {
		list = append(list, describe(t))
	}
	return list
}

// Topic returns one; false when there is none of this name.
func (n *Node) Topic(name string) (Topic, bool) {
	t, ok := n.meta.topic(name)
	return describe(t), ok
}

func describe(t fsm.Topic) Topic {
	d := Topic{Name: t.Name, Partitions: len(t.Partitions), Retention: -1, Bytes: t.RetentionBytes, MaxBatch: MaxMessage}
	if t.RetentionMS >= 0 {
		d.Retention = time.Duration(t.RetentionMS) * time.Millisecond
	}
	return d
}

// CreateTopic makes a topic; zero fields of t mean the node's defaults. It returns when the topic can be written, or with the error of ctx: then it may exist. The error
// may be [ErrTopicExists]; or [ErrUnknownTopic], when somebody has deleted the topic before it could be written.
func (n *Node) CreateTopic(ctx context.Context, t Topic) error {
	if err := n.Ready(ctx); err != nil {
		return err
	}
	done, err := n.turn(ctx)
	if err != nil {
		return fmt.Errorf("create topic %q: %w", t.Name, err)
	}
	defer done()
	return n.create(ctx, t)
}

// turn waits until no other change of topics runs here. A node that is alone opens and closes partitions within its change, and a close between another's two steps would
// miss what that one opens. With several nodes those who lead the partitions settle them one after the other, and nobody waits for his turn.
func (n *Node) turn(ctx context.Context) (done func(), err error) {
	if n.cfg.Cluster != nil {
		return func() {}, nil
	}
	if err := n.making.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("another change of topics runs: %w", err)
	}
	return func() { n.making.Release(1) }, nil
}

func (n *Node) create(ctx context.Context, t Topic) error {
	if t.Partitions == 0 {
		t.Partitions = n.cfg.Partitions
	}
	if t.Partitions < 0 || t.Partitions > fsm.MaxPartitions {
		return fmt.Errorf("create topic %q with %d partitions: 1 to %d are allowed", t.Name, t.Partitions, fsm.MaxPartitions)
	}
	if t.Retention == 0 {
		t.Retention = n.cfg.RetentionAge
	}
	r := fsm.CreateTopicRequest{Name: t.Name, Partitions: uint32(t.Partitions), RetentionMS: fsm.RetentionUnlimited, RetentionBytes: fsm.RetentionUnlimited}
	if t.Retention > 0 {
		r.RetentionMS = max(1, t.Retention.Milliseconds())
	}
	if t.Bytes > 0 {
		r.RetentionBytes = t.Bytes
	}
	_, _ = rand.Read(r.UUID[:])
	err := n.change(ctx, fsm.Command{Type: fsm.CommandCreateTopic, Body: r.Append(nil)})
	made, ok := n.meta.topic(t.Name)
	if ok && (err == nil || errors.Is(err, ErrTopicExists)) { // one that exists may have been left half open by a node that died
		if n.cfg.Cluster == nil {
			r := n.round()
			r.openPartitions(ctx, made)
			err = errors.Join(err, r.err())
		} else { // whoever leads its partitions opens them
			err = errors.Join(err, n.opened(ctx, made))
		}
	}
	if err != nil {
		return fmt.Errorf("create topic %q: %w", t.Name, err)
	}
	return nil
}

// DeleteTopic removes a topic with everything in it.
func (n *Node) DeleteTopic(ctx context.Context, name string) error {
	if err := n.Ready(ctx); err != nil {
		return err
	}
	done, err := n.turn(ctx)
	if err != nil {
		return fmt.Errorf("delete topic %q: %w", name, err)
	}
	defer done()
	r := fsm.DeleteTopicRequest{Name: name}
	if err := n.change(ctx, fsm.Command{Type: fsm.CommandDeleteTopic, Body: r.Append(nil)}); err != nil {
		return fmt.Errorf("delete topic %q: %w", name, err)
	}
	if n.cfg.Cluster != nil {
		return nil // whoever leads its partitions closes them
	}
	rest := n.round()
	rest.closeOrphans(ctx)
	return rest.err()
}

// machine is the one that a partition lies in.
func (n *Node) machine(p fsm.PartitionPlace) *dataMachine { return n.data[p.Group-1] }

// place finds a partition.
func (n *Node) place(topic string, partition int32) (fsm.PartitionPlace, error) {
	t, ok := n.meta.topic(topic)
	if !ok || partition < 0 || int(partition) >= len(t.Partitions) {
		return fsm.PartitionPlace{}, fmt.Errorf("topic %q, partition %d: %w", topic, partition, ErrUnknownTopic)
	}
	return t.Partitions[partition], nil
}
