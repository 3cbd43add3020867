package broker

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// Dumped is what stands at one place of a segment: a record, or a frame without any.
type Dumped struct {
	Frame  commitlog.Frame
	At     int64 // place in the segment
	Kind   string
	Group  uint16
	Index  uint64
	Term   uint64
	Bytes  int
	Detail []string // what it says, without keys and payloads
}

// ErrNoSegment means that a log has no segment of this number.
var ErrNoSegment = errors.New("no such segment")

// Dump gives what stands in a segment of a node that does not run, in order, and says how it ends. It changes nothing.
func Dump(dir string, segment uint64, fsys vfs.FS, each func(Dumped) error) (end commitlog.DumpEnd, err error) {
	id, err := readIdentity(fsys, dir)
	if err != nil {
		return end, fmt.Errorf("broker: %w", err)
	}
	names := partitionNames(dir, fsys)
	var frame commitlog.Frame
	end, err = commitlog.Dump(commitlog.Config{FS: fsys, Dir: dir, Node: id.node, Cluster: id.cluster}, segment, func(f commitlog.Frame) error {
		frame = f
		if f.Records > 0 {
			return nil
		}
		return each(Dumped{Frame: f, At: f.At, Kind: "marker"})
	}, func(p commitlog.Position, r commitlog.Record) error {
		d := Dumped{Frame: frame, At: p.At, Kind: kindName(r.Kind), Group: r.Stream, Index: r.Index, Term: r.Term, Bytes: len(r.Body)}
		if r.Kind == commitlog.KindEntry {
			d.Detail = describeEntry(r.Body, names)
		}
		return each(d)
	})
	if errors.Is(err, fs.ErrNotExist) {
		numbers, listed := commitlog.Segments(fsys, dir)
		if listed == nil && len(numbers) > 0 {
			return end, fmt.Errorf("broker: segment %d: %w: there are %d to %d", segment, ErrNoSegment, numbers[0], slices.Max(numbers))
		}
	}
	if err != nil {
		return end, fmt.Errorf("broker: %w", err)
	}
	return end, nil
}

// partitionNames are those of the topics that can be read; a damaged log may tell none.
func partitionNames(dir string, fsys vfs.FS) map[uint32]string {
	names := map[uint32]string{}
	n, err := Inspect(dir, fsys)
	if err != nil {
		return names
	}
	defer n.Close()
	for _, t := range n.meta.topics() {
		for i, p := range t.Partitions {
			names[p.ID] = fmt.Sprintf("%s/%d", t.Name, i)
		}
	}
	return names
}

func kindName(k commitlog.Kind) string {
	switch k {
	case commitlog.KindEntry:
		return "entry"
	case commitlog.KindHardState:
		return "hard state"
	case commitlog.KindMembership:
		return "membership"
	case commitlog.KindCheckpointPart:
		return "checkpoint part"
	case commitlog.KindCheckpointEnd:
		return "checkpoint end"
	case commitlog.KindFirstIndex:
		return "first index"
	}
	return fmt.Sprintf("kind %d", k)
}

// describeEntry is one text for each command.
func describeEntry(body []byte, names map[uint32]string) []string {
	if len(body) == 0 {
		return []string{"a leader begins"}
	}
	e, err := fsm.ParseEntry(body)
	if err != nil {
		return []string{err.Error()}
	}
	var list []string
	for _, c := range e.Commands {
		list = append(list, describeCommand(c, names))
	}
	return list
}

func describeCommand(c fsm.Command, names map[uint32]string) string {
	partition := func(b []byte) string {
		if len(b) < 4 {
			return "of a partition that cannot be read"
		}
		id := le.Uint32(b)
		if name, ok := names[id]; ok {
			return name
		}
		return fmt.Sprintf("partition %d", id)
	}
	switch c.Type {
	case fsm.CommandAppend:
		return "append to " + partition(c.Body) + describeAppend(c.Body)
	case fsm.CommandOpen:
		return "open " + partition(c.Body)
	case fsm.CommandClose:
		return "close " + partition(c.Body)
	case fsm.CommandTrim:
		if len(c.Body) < 12 {
			return fsm.ErrEntry.Error()
		}
		return fmt.Sprintf("trim %s below %d", partition(c.Body), le.Uint64(c.Body[4:]))
	case fsm.CommandFence:
		if len(c.Body) < 24 {
			return fsm.ErrEntry.Error()
		}
		return fmt.Sprintf("fence %s below epoch %d", hex.EncodeToString(c.Body[:16]), le.Uint64(c.Body[16:]))
	case fsm.CommandState:
		return "ask for a source's state in " + partition(c.Body)
	case fsm.CommandInit:
		return "found the cluster"
	case fsm.CommandCreateTopic:
		if r, err := fsm.ParseCreateTopic(c.Body); err == nil {
			return fmt.Sprintf("create topic %s, %d partitions", r.Name, r.Partitions)
		}
	case fsm.CommandDeleteTopic:
		if r, err := fsm.ParseDeleteTopic(c.Body); err == nil {
			return "delete topic " + r.Name
		}
	case fsm.CommandAlterRetention:
		if r, err := fsm.ParseAlterRetention(c.Body); err == nil {
			return "alter the retention of topic " + r.Name
		}
	case fsm.CommandProducerIDs:
		return "give out producer ids"
	}
	return fmt.Sprintf("command %d of %d bytes", c.Type, len(c.Body))
}

func describeAppend(body []byte) string {
	a, err := fsm.ParseAppend(body)
	if err != nil {
		return ": " + err.Error()
	}
	text := ""
	if b, err := fsm.ParseBatch(a.Batch); err != nil {
		text = ": " + err.Error()
	} else {
		text = fmt.Sprintf(": records %d, bytes %d", b.Count, len(a.Batch))
	}
	if s := a.Source; s != nil && len(a.IDs) > 0 {
		text += fmt.Sprintf(", ids %d-%d, epoch %d, request %d", slices.Min(a.IDs), slices.Max(a.IDs), s.Epoch, s.Seq)
	}
	return text
}
