package fsm

// The commands of the metadata group.
const (
	CommandInit           CommandType = 32 // the first one: the cluster begins
	CommandCreateTopic    CommandType = 33
	CommandDeleteTopic    CommandType = 34
	CommandAlterRetention CommandType = 35
	CommandProducerIDs    CommandType = 36 // a block of producer ids; its body is empty
)

const (
	initLength        = 18
	createTopicHeader = 36
	alterHeader       = 16
)

// InitRequest is the body of [CommandInit]: what a cluster is for ever.
type InitRequest struct {
	Cluster UUID
	Groups  uint16 // data groups, at least 1: they are 1 to Groups
}

// Append encodes r behind dst:
//
//	0 cluster, 16 bytes | 16 groups u16
func (r *InitRequest) Append(dst []byte) []byte {
	return le.AppendUint16(append(dst, r.Cluster[:]...), r.Groups)
}

// ParseInit decodes r. A cluster of no groups or with a uuid of zeros is [ErrEntry] too.
func ParseInit(b []byte) (r InitRequest, err error) {
	if len(b) != initLength {
		return r, ErrEntry
	}
	r = InitRequest{Cluster: UUID(b), Groups: le.Uint16(b[16:])}
	if r.Groups == 0 || r.Cluster == (UUID{}) {
		return r, ErrEntry
	}
	return r, nil
}

// CreateTopicRequest is the body of [CommandCreateTopic].
type CreateTopicRequest struct {
	Name           string
	UUID           UUID // drawn by the proposer: the machine has no chance of its own
	Partitions     uint32
	RetentionMS    int64 // at least 1, or RetentionUnlimited; the proposer knows the default
	RetentionBytes int64
}

// Append encodes r behind dst:
//
//	 0 uuid, 16 bytes | 16 partitions u32 | 20 retention, ms i64 | 28 retention, bytes i64
//	36 name
func (r *CreateTopicRequest) Append(dst []byte) []byte {
	dst = append(dst, r.UUID[:]...)
	dst = le.AppendUint32(dst, r.Partitions)
	dst = le.AppendUint64(dst, uint64(r.RetentionMS))
	dst = le.AppendUint64(dst, uint64(r.RetentionBytes))
	return append(dst, r.Name...)
}

// ParseCreateTopic decodes r; whether its values can be is [Meta.Apply]'s to say.
func ParseCreateTopic(b []byte) (r CreateTopicRequest, err error) {
	if len(b) < createTopicHeader {
		return r, ErrEntry
	}
	return CreateTopicRequest{Name: string(b[createTopicHeader:]), UUID: UUID(b), Partitions: le.Uint32(b[16:]),
		RetentionMS: int64(le.Uint64(b[20:])), RetentionBytes: int64(le.Uint64(b[28:]))}, nil
}

// DeleteTopicRequest is the body of [CommandDeleteTopic].
type DeleteTopicRequest struct{ Name string }

// Append encodes r behind dst: the name, nothing else.
func (r *DeleteTopicRequest) Append(dst []byte) []byte { return append(dst, r.Name...) }

// ParseDeleteTopic decodes r; an empty body is [ErrEntry].
func ParseDeleteTopic(b []byte) (r DeleteTopicRequest, err error) {
	if len(b) == 0 {
		return r, ErrEntry
	}
	return DeleteTopicRequest{Name: string(b)}, nil
}

// AlterRetentionRequest is the body of [CommandAlterRetention].
type AlterRetentionRequest struct {
	Name           string
	RetentionMS    int64 // at least 1, RetentionUnlimited or RetentionKept
	RetentionBytes int64
}

// Append encodes r behind dst:
//
//	0 retention, ms i64 | 8 retention, bytes i64
//	16 name
func (r *AlterRetentionRequest) Append(dst []byte) []byte {
	dst = le.AppendUint64(dst, uint64(r.RetentionMS))
	dst = le.AppendUint64(dst, uint64(r.RetentionBytes))
	return append(dst, r.Name...)
}

// ParseAlterRetention decodes r; whether its values can be is [Meta.Apply]'s to say.
func ParseAlterRetention(b []byte) (r AlterRetentionRequest, err error) {
	if len(b) < alterHeader {
		return r, ErrEntry
	}
	return AlterRetentionRequest{Name: string(b[alterHeader:]), RetentionMS: int64(le.Uint64(b)), RetentionBytes: int64(le.Uint64(b[8:]))}, nil
}
