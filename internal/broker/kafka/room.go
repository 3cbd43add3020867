package kafka

import (
	"context"
	"errors"
	"math"
	"slices"
)

const (
	answerItem = 512 // what a topic, partition, group or member of an answer takes at most beside its texts, before and behind its encoding
	answerText = 3   // how often a byte of text is in memory at most: as it is, and in a buffer that grows
)

// errCrowded ends a connection.
var errCrowded = errors.New("others take all room for large answers, and too many requests wait for it already")

// room takes memory for an answer of so many things, and so many bytes of text in them, where records of answers have theirs: until the answer was taken. Small answers
// cost nothing. One that is larger than all of it takes all, so there is one such at a time. It is called once for an answer, before there is much of it. While it waits its
// request is there, decoded: where those are too many, the connection is ended.
func (c *conn) room(ctx context.Context, things int, text int64) error {
	n := min(int64(things)*answerItem+text*answerText, c.budget)
	if n <= early {
		return nil
	}
	if !c.responses.TryAcquire(n) {
		if c.weight > early { // else it may wait as it is
			if !c.patience.TryAcquire(c.weight) {
				return errCrowded
			}
			defer c.patience.Release(c.weight)
		}
		if err := c.responses.Acquire(ctx, n); err != nil {
			return errClosed
		}
	}
	c.held += n
	return nil
}

// once drops what is named again: a request is small, and its answer would not be.
func once[T any, K comparable](list []T, name func(T) K) []T {
	seen := make(map[K]bool, len(list))
	return slices.DeleteFunc(list, func(x T) bool {
		was := seen[name(x)]
		seen[name(x)] = true
		return was
	})
}

func itself(name string) string { return name }

// named are the partitions that a request has named so far.
type named map[place]bool

// again says whether a partition was named before.
func (n named) again(topic string, partition int32) bool {
	at := place{topic, partition}
	was := n[at]
	n[at] = true
	return was
}

// topicItself stands for a topic among its partitions.
const topicItself = math.MinInt32

// rest are the partitions of a topic that were not named before; needless says that nothing is to be said of it any more.
func rest[T any](n named, topic string, list []T, partition func(T) int32) (left []T, needless bool) {
	left = slices.DeleteFunc(list, func(x T) bool { return n.again(topic, partition(x)) })
	return left, n.again(topic, topicItself) && len(left) == 0
}
