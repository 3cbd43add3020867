package group

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestCommit(t *testing.T) {
	d := pair(t, Config{MetadataBytes: 8})
	for _, c := range []struct {
		what   string
		id     Identity
		offset Offset
		code   Code
	}{
		{"a member", Identity{"g", "b", "", 1}, Offset{At: 7, Epoch: 3, Metadata: "notes"}, None},
		{"a longer text", Identity{"g", "b", "", 1}, Offset{At: 8, Metadata: "nine byte"}, OffsetMetadataTooLarge},
		{"an earlier generation", Identity{"g", "b", "", 0}, Offset{At: 8}, IllegalGeneration},
		{"a later one", Identity{"g", "b", "", 2}, Offset{At: 8}, IllegalGeneration},
		{"a stranger", Identity{"g", "x", "", 1}, Offset{At: 8}, UnknownMemberID},
		{"nobody, while there are members", Identity{"g", "", "", -1}, Offset{At: 8}, UnknownMemberID},
		{"a member without a generation", Identity{"g", "b", "", -1}, Offset{At: 8}, IllegalGeneration},
		{"a stranger's instance", Identity{"g", "b", "i", 1}, Offset{At: 8}, UnknownMemberID},
		{"a generation of a group that is not", Identity{"other", "b", "", 1}, Offset{At: 8}, IllegalGeneration},
		{"nobody, for a group that is not", Identity{"alone", "", "", -1}, Offset{At: 9}, None},
		{"again", Identity{"alone", "", "", -1}, Offset{At: 4}, None},
	} {
		codes := d.Commit(d.now, CommitRequest{Identity: c.id, Offsets: []Commit{{Partition{"t", 1}, c.offset}}})
		if codes[0] != c.code {
			t.Errorf("%s: %v, want %v", c.what, codes[0], c.code)
		}
	}
	if all := d.Offsets("g"); len(all) != 1 || all[0] != (Commit{Partition{"t", 1}, Offset{7, 3, "notes", d.now}}) {
		t.Errorf("%+v", all)
	}
	if all := d.Offsets("alone"); len(all) != 1 || all[0].At != 4 {
		t.Errorf("%+v", all)
	}
	if d.Offsets("none") != nil {
		t.Error("offsets out of nothing")
	}
}

func TestOffsetsAreBounded(t *testing.T) {
	d := newDesk(t, Config{Bytes: 1_000})
	refused := 0
	for i := range 20 {
		if codes := d.Commit(d.now, CommitRequest{Identity: Identity{Group: "g", Generation: -1}, Offsets: []Commit{{Partition{"t", int32(i)}, Offset{}}}}); codes[0] == InvalidCommitOffsetSize {
			refused++
		}
	}
	if len(d.Offsets("g"))+refused != 20 || refused < 10 {
		t.Errorf("%d refused, %d stored", refused, len(d.Offsets("g")))
	}
	if codes := d.Commit(d.now, CommitRequest{Identity: Identity{Group: "g", Generation: -1}, Offsets: []Commit{{Partition{"t", 0}, Offset{At: 5}}}}); codes[0] != None {
		t.Errorf("a partition that is there: %v", codes)
	}
}

// KIP-211: offsets live as long as their group, and 7 days behind it.
func TestOffsetsExpire(t *testing.T) {
	const day = 24 * time.Hour
	d := pair(t, Config{})
	d.commitAt("a", 1, "t", 5)
	d.leave(Leaver{Member: "a"}, Leaver{Member: "b"})
	d.want(Empty, 2, 0)
	step := func(by time.Duration) { d.now = d.now.Add(by); d.Tick(d.now); d.collect() }
	step(4 * day)
	d.Commit(d.now, CommitRequest{Identity: Identity{Group: "g", Generation: -1}, Offsets: []Commit{{Partition{"late", 0}, Offset{At: 1}}}})
	step(3*day - time.Second)
	if len(d.Offsets("g")) != 2 {
		t.Errorf("%+v", d.Offsets("g"))
	}
	step(time.Second)
	if all := d.Offsets("g"); len(all) != 1 || all[0].Topic != "late" {
		t.Errorf("%+v", all)
	}
	step(4 * day)
	d.want(Dead, 0, 0)
	if d.bytes != 0 {
		t.Errorf("%d bytes of nothing", d.bytes)
	}
	d = pair(t, Config{})
	d.commitAt("a", 1, "t", 5)
	for range 30 { // a group that lives keeps its offsets
		d.beat("a", 1)
		d.beat("b", 1)
		d.now = d.now.Add(9 * time.Second)
		d.Tick(d.now)
	}
	if len(d.Offsets("g")) != 1 {
		t.Error("offsets of a living group are gone")
	}
}

func TestDelete(t *testing.T) {
	d := newDesk(t, Config{})
	sub := "\x00\x01\x00\x00\x00\x02\x00\x01t\x00\x01u\xff\xff\xff\xff"
	d.join(request("", "a", Protocol{"range", []byte(sub)}))
	d.pass(time.Second)
	d.sync("a", 1, nil)
	d.commitAt("a", 1, "t", 5)
	d.commitAt("a", 1, "old", 5)
	codes, whole := d.DeleteOffsets("g", []Partition{{"t", 0}, {"old", 0}, {"never", 0}})
	if !reflect.DeepEqual(codes, []Code{GroupSubscribedToTopic, None, None}) || whole != None || len(d.Offsets("g")) != 1 {
		t.Errorf("%v, %v", codes, whole)
	}
	if code := d.Delete("g"); code != NonEmptyGroup {
		t.Errorf("%v", code)
	}
	for id, want := range map[string]Code{"": InvalidGroupID, "other": GroupIDNotFound} {
		if code := d.Delete(id); code != want {
			t.Errorf("%q: %v", id, code)
		}
		if _, code := d.DeleteOffsets(id, nil); code != want {
			t.Errorf("%q: %v", id, code)
		}
	}
	d.leave(Leaver{Member: "a"})
	d.TopicGone("u")
	if len(d.Offsets("g")) != 1 {
		t.Error("another topic's offsets are gone")
	}
	if code := d.Delete("g"); code != None || d.bytes != 0 {
		t.Errorf("%v, %d bytes", code, d.bytes)
	}
	connect := request("", "w")
	connect.Kind = "connect"
	d.join(connect)
	if _, code := d.DeleteOffsets("g", []Partition{{"t", 0}}); code != NonEmptyGroup {
		t.Errorf("a group of another kind: %v", code)
	}
	d.Commit(d.now, CommitRequest{Identity: Identity{Group: "h", Generation: -1}, Offsets: []Commit{{Partition{"u", 0}, Offset{}}, {Partition{"t", 0}, Offset{}}}})
	d.TopicGone("u")
	if all := d.Offsets("h"); len(all) != 1 || all[0].Topic != "t" {
		t.Errorf("%+v", all)
	}
}

func TestTopicsOfASubscription(t *testing.T) {
	for b, want := range map[string]string{"": "", "\x00\x00\x00\x00\x00\x01": "", "\x00\x00\x00\x00\x00\x02\x00\x01a\x00\x09b": "a", "\x00\x00\xff\xff\xff\xff\x00\x01a": "a"} {
		if got := strings.Join(topics([]byte(b)), ","); got != want {
			t.Errorf("%q: %q, want %q", b, got, want)
		}
	}
}
