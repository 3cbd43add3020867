package fsm

import (
	"errors"
	"fmt"
	"strings"
)

// The limits of a cluster.
const (
	MaxTopics     = 1_000
	MaxPartitions = 10_000 // of all topics
	MaxTopicName  = 249    // bytes
)

// What a retention may be besides a positive number.
const (
	RetentionUnlimited = -1
	RetentionKept      = -2 // as it is: of [AlterRetentionRequest] only
)

// Why the metadata machine refuses a command. Nothing has changed then.
var (
	// ErrTopicExists comes also when the topic that exists is exactly the wished one.
	ErrTopicExists  = errors.New("a topic of this name exists already")
	ErrUnknownTopic = errors.New("no such topic")
	ErrTopicName    = fmt.Errorf("a topic name has 1 to %d characters, each of a-z, A-Z, 0-9, '.', '_' and '-', and is not '.' or '..'", MaxTopicName)
	// ErrTopicUUID means that the proposer has to draw another one: zero confuses clients, and they take two topics of one uuid for one.
	ErrTopicUUID         = errors.New("a topic needs a uuid of its own that is not zero")
	ErrNoPartitions      = errors.New("a topic needs at least 1 partition")
	ErrRetention         = errors.New("a retention is at least 1, or -1 for unlimited")
	ErrTooManyTopics     = fmt.Errorf("a cluster holds at most %d topics: delete one first", MaxTopics)
	ErrTooManyPartitions = fmt.Errorf("a cluster holds at most %d partitions in all its topics: ask for fewer, or delete a topic first", MaxPartitions)
	// ErrSpent is no error of a cluster that is used as meant: ids are counted up and never given again.
	ErrSpent = errors.New("this cluster has given out all of its ids of this kind: begin a new cluster")
	// ErrNoCluster comes for every command before [CommandInit].
	ErrNoCluster = errors.New("this cluster has not been founded yet: wait until its nodes have met")
	// ErrClusterExists comes for a [CommandInit] that differs from the first one.
	ErrClusterExists = errors.New("this cluster was founded before, with another uuid or number of data groups")
)

// UUID is that of a cluster or a topic.
type UUID [16]byte

// Topic is a named set of partitions. Partitions is shared by all copies and must not be changed.
type Topic struct {
	Name           string
	UUID           UUID
	Partitions     []PartitionPlace // partition i of the topic is Partitions[i]
	RetentionMS    int64            // age of a record, at least 1; RetentionUnlimited = for ever
	RetentionBytes int64            // of a partition, at least 1; RetentionUnlimited
}

// PartitionPlace says which data group holds a partition.
type PartitionPlace struct {
	ID    uint32 // in the whole cluster, from 1 on, never given again
	Group uint16 // from 1 on
}

func checkTopicName(name string) error {
	if name == "" || len(name) > MaxTopicName || name == "." || name == ".." || strings.ContainsFunc(name, notOfTopicName) {
		return ErrTopicName
	}
	return nil
}

func notOfTopicName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
}

func checkRetention(values ...int64) error {
	for _, v := range values {
		if v < 1 && v != RetentionUnlimited {
			return ErrRetention
		}
	}
	return nil
}
