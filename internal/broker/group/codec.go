package group

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// ErrChange means that bytes are no change which this version of the program has written.
var ErrChange = errors.New("a stored change of a consumer group cannot be read by this version of the program")

const changeVersion = 1

// Append encodes x behind dst. Numbers are varints, texts have their length before them, times are ms since 1970, 0 for none:
//
//	version u8 | kind u8 | group
//	of a group:   generation, assigned, kind, protocol, leader, since, count × {member, instance, client, host, session ms, rejoin ms, assignment,
//	              count × {name, metadata}}
//	of an offset: topic, partition | stored: at, epoch, metadata, time
func (x *Change) Append(dst []byte) []byte {
	w := writer{append(dst, changeVersion, byte(x.Kind))}
	w.text(x.Group)
	switch x.Kind {
	case GroupStored:
		w.group(x.Stored)
	case OffsetStored, OffsetForgotten:
		w.text(x.Partition.Topic)
		w.number(int64(x.Partition.Partition))
		if x.Kind == OffsetStored {
			w.number(x.Offset.At)
			w.number(int64(x.Offset.Epoch))
			w.text(x.Offset.Metadata)
			w.time(x.Offset.Time)
		}
	}
	return w.b
}

// DecodeChange decodes a change that fills b, and keeps nothing of b.
func DecodeChange(b []byte) (x Change, err error) {
	if len(b) < 2 || b[0] != changeVersion {
		return x, ErrChange
	}
	r := reader{b: b[2:]}
	x.Kind = ChangeKind(b[1])
	x.Group = r.text()
	switch x.Kind {
	case GroupStored:
		x.Stored = r.group()
	case GroupForgotten:
	case OffsetStored, OffsetForgotten:
		x.Partition = Partition{r.text(), r.int32()}
		if x.Kind == OffsetStored {
			x.Offset = Offset{r.number(), r.int32(), r.text(), r.time()}
		}
	default:
		r.bad = true
	}
	if r.bad || len(r.b) > 0 {
		return Change{}, ErrChange
	}
	return x, nil
}

type writer struct{ b []byte }

func (w *writer) number(n int64) { w.b = binary.AppendVarint(w.b, n) }

func (w *writer) text(s string) {
	w.number(int64(len(s)))
	w.b = append(w.b, s...)
}

func (w *writer) time(t time.Time) {
	if t.IsZero() {
		w.number(0)
		return
	}
	w.number(t.UnixMilli())
}

func (w *writer) group(s *StoredGroup) {
	w.number(int64(s.Generation))
	assigned := int64(0)
	if s.Assigned {
		assigned = 1
	}
	w.number(assigned)
	w.text(s.Kind)
	w.text(s.Protocol)
	w.text(s.Leader)
	w.time(s.Since)
	w.number(int64(len(s.Members)))
	for _, m := range s.Members {
		for _, t := range []string{m.Member, m.Instance, m.ClientID, m.Host} {
			w.text(t)
		}
		w.number(m.Session.Milliseconds())
		w.number(m.Rejoin.Milliseconds())
		w.text(string(m.Assignment))
		w.number(int64(len(m.Protocols)))
		for _, p := range m.Protocols {
			w.text(p.Name)
			w.text(string(p.Metadata))
		}
	}
}

// reader reads from the front of b. After the first fault it gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() int64 {
	n, used := binary.Varint(r.b)
	if used <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[used:]
	return n
}

func (r *reader) int32() int32 {
	n := r.number()
	r.bad = r.bad || n < math.MinInt32 || n > math.MaxInt32
	return int32(n)
}

// count is that of things of a byte at least, so that so many can be allocated.
func (r *reader) count() int {
	n := r.number()
	if n < 0 || n > int64(len(r.b)) {
		r.b, r.bad = nil, true
		return 0
	}
	return int(n)
}

func (r *reader) text() string {
	n := r.count()
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) bytes() []byte {
	if s := r.text(); s != "" {
		return []byte(s)
	}
	return nil
}

func (r *reader) time() time.Time {
	if ms := r.number(); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

// milliseconds are those of a time-out: up to 2³¹, as on Kafka's wire.
func (r *reader) milliseconds() time.Duration {
	return time.Duration(r.int32()) * time.Millisecond
}

func (r *reader) group() *StoredGroup {
	s := &StoredGroup{Generation: r.int32()}
	assigned := r.number()
	r.bad = r.bad || assigned != 0 && assigned != 1
	s.Assigned = assigned == 1
	s.Kind, s.Protocol, s.Leader, s.Since = r.text(), r.text(), r.text(), r.time()
	for range r.count() {
		m := StoredMember{Member: r.text(), Instance: r.text(), ClientID: r.text(), Host: r.text(), Session: r.milliseconds(), Rejoin: r.milliseconds(),
			Assignment: r.bytes()}
		for range r.count() {
			m.Protocols = append(m.Protocols, Protocol{r.text(), r.bytes()})
		}
		if r.bad {
			break
		}
		s.Members = append(s.Members, m)
	}
	return s
}
