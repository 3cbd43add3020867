package fsm

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// ProducerIDBlock is how many producer ids a node gets at once, to give them to producers.
const ProducerIDBlock = 1_000

// Meta is the state of group 0, the metadata: the topics, where their partitions lie, and which ids are given out. Apply may not be called at once from two
// goroutines, nor beside a read.
//
//	len(topics) <= MaxTopics    partitions <= MaxPartitions    1 <= ID <= placed, each once    1 <= Group <= groups
type Meta struct {
	cluster    UUID
	groups     uint16 // data groups; 0 = no cluster yet
	topics     map[string]Topic
	partitions int    // of all topics
	placed     uint32 // the last partition id given
	blocks     uint64 // of producer ids given
}

// NewMeta returns the state before the first entry.
func NewMeta() *Meta { return &Meta{topics: map[string]Topic{}} }

// MetaResult is what became of one command of the metadata group.
type MetaResult struct {
	Err        error
	Topic      Topic // as it was created or altered, or was when it was deleted: its partitions are to be opened or closed
	ProducerID int64 // the first of a block of ProducerIDBlock
}

// Cluster is the uuid of the cluster, zero before [CommandInit].
func (m *Meta) Cluster() UUID { return m.cluster }

// Groups is how many data groups there are, 1 to Groups; 0 before [CommandInit].
func (m *Meta) Groups() uint16 { return m.groups }

// Placed is the highest partition that was ever given to a topic: those up to it that no topic has were deleted.
func (m *Meta) Placed() uint32 { return m.placed }

// Topic returns a topic by its name.
func (m *Meta) Topic(name string) (Topic, bool) {
	t, ok := m.topics[name]
	return t, ok
}

// Topics returns all topics by name.
func (m *Meta) Topics() []Topic {
	return slices.SortedFunc(maps.Values(m.topics), func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
}

// Apply does what an entry wishes, in order, and returns what became of each command. It never fails as a whole: a command that cannot be read, or is refused,
// changes nothing. Neither the term nor the time of the entry counts.
func (m *Meta) Apply(_ uint64, e Entry) []MetaResult {
	results := make([]MetaResult, len(e.Commands))
	for i, c := range e.Commands {
		switch {
		case c.Type == CommandInit:
			results[i].Err = m.init(c.Body)
		case c.Type < CommandInit || c.Type > CommandProducerIDs:
			results[i].Err = ErrEntry
		case m.groups == 0:
			results[i].Err = ErrNoCluster
		case c.Type == CommandCreateTopic:
			results[i].Topic, results[i].Err = m.create(c.Body)
		case c.Type == CommandDeleteTopic:
			results[i].Topic, results[i].Err = m.delete(c.Body)
		case c.Type == CommandAlterRetention:
			results[i].Topic, results[i].Err = m.alter(c.Body)
		default:
			results[i].ProducerID, results[i].Err = m.block(c.Body)
		}
	}
	return results
}

// init founds the cluster. The same again is no error: who proposed it may not have heard what became of it.
func (m *Meta) init(body []byte) error {
	r, err := ParseInit(body)
	switch {
	case err != nil:
		return err
	case m.groups == 0:
		m.cluster, m.groups = r.Cluster, r.Groups
	case r != InitRequest{m.cluster, m.groups}:
		return ErrClusterExists
	}
	return nil
}

func (m *Meta) create(body []byte) (Topic, error) {
	r, err := ParseCreateTopic(body)
	if err == nil {
		err = m.admit(&r)
	}
	if err != nil {
		return Topic{}, err
	}
	t := Topic{Name: r.Name, UUID: r.UUID, Partitions: make([]PartitionPlace, r.Partitions), RetentionMS: r.RetentionMS, RetentionBytes: r.RetentionBytes}
	for i := range t.Partitions {
		t.Partitions[i] = PartitionPlace{ID: m.placed + 1, Group: uint16(1 + m.placed%uint32(m.groups))}
		m.placed++
	}
	m.partitions += len(t.Partitions)
	m.topics[t.Name] = t
	return t, nil
}

// admit says why a topic cannot be created.
func (m *Meta) admit(r *CreateTopicRequest) error {
	if err := checkTopicName(r.Name); err != nil {
		return err
	}
	_, exists := m.topics[r.Name]
	switch {
	case exists:
		return ErrTopicExists
	case r.UUID == UUID{} || m.uuidTaken(r.UUID):
		return ErrTopicUUID
	case r.Partitions == 0:
		return ErrNoPartitions
	case len(m.topics) >= MaxTopics:
		return ErrTooManyTopics
	case uint64(m.partitions)+uint64(r.Partitions) > MaxPartitions:
		return ErrTooManyPartitions
	case uint64(m.placed)+uint64(r.Partitions) > math.MaxUint32:
		return ErrSpent
	}
	return checkRetention(r.RetentionMS, r.RetentionBytes)
}

func (m *Meta) uuidTaken(uuid UUID) bool {
	for _, t := range m.topics {
		if t.UUID == uuid {
			return true
		}
	}
	return false
}

func (m *Meta) delete(body []byte) (Topic, error) {
	r, err := ParseDeleteTopic(body)
	if err != nil {
		return Topic{}, err
	}
	t, ok := m.topics[r.Name]
	if !ok {
		return Topic{}, ErrUnknownTopic
	}
	delete(m.topics, r.Name)
	m.partitions -= len(t.Partitions)
	return t, nil
}

func (m *Meta) alter(body []byte) (Topic, error) {
	r, err := ParseAlterRetention(body)
	if err != nil {
		return Topic{}, err
	}
	t, ok := m.topics[r.Name]
	if !ok {
		return Topic{}, ErrUnknownTopic
	}
	if r.RetentionMS != RetentionKept {
		t.RetentionMS = r.RetentionMS
	}
	if r.RetentionBytes != RetentionKept {
		t.RetentionBytes = r.RetentionBytes
	}
	if err := checkRetention(t.RetentionMS, t.RetentionBytes); err != nil {
		return Topic{}, err
	}
	m.topics[r.Name] = t
	return t, nil
}

func (m *Meta) block(body []byte) (int64, error) {
	switch {
	case len(body) > 0:
		return 0, ErrEntry
	case m.blocks == maxBlocks:
		return 0, ErrSpent
	}
	m.blocks++
	return int64(m.blocks-1) * ProducerIDBlock, nil
}

// maxBlocks is how many blocks of producer ids there are.
const maxBlocks = math.MaxInt64 / ProducerIDBlock
