package telemetry

import (
	"maps"
	"slices"
	"sync"
)

// otherTopic is the label of every topic beyond the limit.
const otherTopic = "__other__"

// topics limits the topic names that become labels: the first ones that are seen keep their names.
type topics struct {
	most int

	mu   sync.RWMutex
	seen map[string]struct{}
}

// Topics are the topics of messages that were sent, or were seen to fail, up to the limit of their series. In no order.
func (t *Telemetry) Topics() []string {
	t.topics.mu.RLock()
	defer t.topics.mu.RUnlock()
	return slices.Collect(maps.Keys(t.topics.seen))
}

func (t *topics) label(topic string) string {
	t.mu.RLock()
	_, ok := t.seen[topic]
	full := len(t.seen) >= t.most
	t.mu.RUnlock()
	switch {
	case ok:
		return topic
	case full:
		return otherTopic
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.seen[topic]; !ok && len(t.seen) >= t.most {
		return otherTopic
	}
	t.seen[topic] = struct{}{}
	return topic
}
