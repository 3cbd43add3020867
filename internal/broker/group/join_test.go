package group

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestJoinIsRefused(t *testing.T) {
	d := pair(t, Config{Members: 3})
	with := func(change func(*JoinRequest)) JoinRequest {
		r := request("", "new")
		change(&r)
		return r
	}
	for _, c := range []struct {
		what string
		r    JoinRequest
		code Code
	}{
		{"no group", with(func(r *JoinRequest) { r.Group = "" }), InvalidGroupID},
		{"too short a session", with(func(r *JoinRequest) { r.Session = 6*time.Second - 1 }), InvalidSessionTimeout},
		{"too long a session", with(func(r *JoinRequest) { r.Session = 30*time.Minute + 1 }), InvalidSessionTimeout},
		{"an id that was never given", request("c", "new"), UnknownMemberID},
		{"an id in a group that is not", with(func(r *JoinRequest) { r.Group, r.Member = "other", "a" }), UnknownMemberID},
		{"an instance that is not", with(func(r *JoinRequest) { r.Member, r.Instance = "a", "i" }), UnknownMemberID},
		{"another kind", with(func(r *JoinRequest) { r.Kind = "connect" }), InconsistentGroupProtocol},
		{"no kind", with(func(r *JoinRequest) { r.Kind, r.Group = "", "other" }), InconsistentGroupProtocol},
		{"no way of assignment", with(func(r *JoinRequest) { r.Protocols, r.Group = nil, "other" }), InconsistentGroupProtocol},
		{"one that others do not know", request("", "new", Protocol{Name: "sticky"}), InconsistentGroupProtocol},
		{"a member that comes back with it", request("b", "new", Protocol{Name: "sticky"}), InconsistentGroupProtocol},
		{"one twice", request("", "new", Protocol{Name: "range"}, Protocol{Name: "range"}), InconsistentGroupProtocol},
	} {
		if a := d.joined(d.join(c.r)); a.Code != c.code || a.Generation != -1 || a.Member != c.r.Member {
			t.Errorf("%s: %+v, want %v", c.what, a, c.code)
		}
		d.want(Stable, 1, 2)
	}
	if len(d.List()) != 1 {
		t.Errorf("refused joins have made groups: %+v", d.List())
	}
	d.open(d.join(request("", "c")))
	if a := d.joined(d.join(request("", "d"))); a.Code != GroupMaxSizeReached {
		t.Errorf("a fourth member: %v", a.Code)
	}
}

func TestGroupsAreBounded(t *testing.T) {
	d := newDesk(t, Config{Groups: 1})
	d.open(d.join(request("", "a")))
	r := request("", "b")
	r.Group = "second"
	if a := d.joined(d.join(r)); a.Code != GroupMaxSizeReached {
		t.Errorf("a second group: %v", a.Code)
	}
	codes := d.Commit(d.now, CommitRequest{Identity: Identity{Group: "second", Generation: -1}, Offsets: []Commit{{Partition{"t", 0}, Offset{At: 1}}}})
	if codes[0] != InvalidCommitOffsetSize {
		t.Errorf("offsets of a second group: %v", codes[0])
	}
	small := newDesk(t, Config{Bytes: 2_000})
	if a := small.joined(small.join(request("", "a", Protocol{"range", make([]byte, 2_000)}))); a.Code != GroupMaxSizeReached {
		t.Errorf("too many bytes: %v", a.Code)
	}
	small.open(small.join(request("", "a", Protocol{"range", make([]byte, 1_000)})))
}

// Ids that nobody has joined with, and names alone, take room too, and give it back.
func TestNamesAndIDsAreBounded(t *testing.T) {
	long := strings.Repeat("x", longestName)
	for what, once := range map[string]func(d *desk, i int) Code{
		"ids of one group": func(d *desk, i int) Code {
			r := request("", fmt.Sprint(i, long))
			r.NeedsID = true
			return d.joined(d.join(r)).Code
		},
		"names of groups": func(d *desk, i int) Code {
			r := request("", "a")
			r.Group, r.NeedsID = fmt.Sprint(long[5:], i), true
			return d.joined(d.join(r)).Code
		},
		"names of groups with offsets": func(d *desk, i int) Code {
			id := Identity{Group: fmt.Sprint(long[5:], i), Generation: -1}
			code := d.Commit(d.now, CommitRequest{Identity: id, Offsets: []Commit{{Partition{"t", 0}, Offset{At: 1}}}})[0]
			d.collect()
			return code
		},
	} {
		d := newDesk(t, Config{Bytes: 20_000, Retention: time.Minute})
		taken := 0
		for i := range 100 {
			switch code := once(d, i); code {
			case None, MemberIDRequired:
				taken++
			case GroupMaxSizeReached, InvalidCommitOffsetSize:
			default:
				t.Fatalf("%s: %v", what, code)
			}
		}
		if taken < 10 || taken > 60 || d.bytes > 20_000 {
			t.Errorf("%s: %d were taken, which weigh %d bytes", what, taken, d.bytes)
		}
		d.pass(2 * time.Minute)
		if d.bytes != 0 || len(d.List()) != 0 {
			t.Errorf("%s: %d bytes are left", what, d.bytes)
		}
	}
	d := newDesk(t, Config{})
	r := request("", "a")
	r.Kind = long
	d.open(d.join(r))
	r = request("", "b")
	r.Group, r.Kind = "other", long+"x"
	if a := d.joined(d.join(r)); a.Code != InconsistentGroupProtocol {
		t.Errorf("a long kind: %v", a.Code)
	}
}

// KIP-394: a first Join gets an id, and only the second one a place. Until then the rebalance waits for it.
func TestMemberIDComesFirst(t *testing.T) {
	d := pair(t, Config{})
	r := request("", "c")
	r.NeedsID = true
	a := d.joined(d.join(r))
	if a.Code != MemberIDRequired || a.Member != "c" {
		t.Fatalf("%+v", a)
	}
	d.want(Stable, 1, 2)
	if code := d.beat("c", -1); code != UnknownMemberID {
		t.Errorf("heartbeat of an id that has not joined: %v", code)
	}
	static := request("c", "")
	static.Instance = "i"
	if a := d.joined(d.join(static)); a.Code != UnknownMemberID {
		t.Errorf("the id as that of a static member: %+v", a)
	}
	first := d.join(request("c", "unused"))
	r.NewID = "e"
	d.join(r)
	d.join(request("a", ""))
	last := d.join(request("b", ""))
	d.open(last) // it waits for e
	d.pass(10 * time.Second)
	if a := d.joined(first); a.Generation != 2 || a.Member != "c" {
		t.Errorf("%+v", a)
	}
	if a := d.joined(d.join(request("e", ""))); a.Code != UnknownMemberID {
		t.Errorf("an id after its time: %+v", a)
	}
	r.NewID = "f"
	d.join(r)
	if codes := d.leave(Leaver{Member: "f"}); codes[0] != None {
		t.Errorf("an id is given back: %v", codes)
	}
}

// The first rebalance waits for more members as long as more come, and no longer than the rebalance timeout.
func TestFirstRebalanceWaits(t *testing.T) {
	d := newDesk(t, Config{})
	r := request("", "a")
	r.Session, r.Rejoin = 6*time.Second, 6*time.Second
	first := d.join(r)
	for i := range 20 {
		d.pass(400 * time.Millisecond)
		if d.Describe("g").State != PreparingRebalance {
			break
		}
		r.NewID = string(rune('b' + i))
		d.join(r)
	}
	if a := d.joined(first); a.Generation != 1 || len(a.Members) < 10 {
		t.Errorf("%+v", a)
	}
	if gone := d.now.Sub(time.UnixMilli(1_700_000_000_000)); gone > 7*time.Second {
		t.Errorf("it took %v", gone)
	}
	eager := newDesk(t, Config{FirstDelay: -1})
	only := eager.join(request("", "a"))
	eager.pass(time.Millisecond)
	if a := eager.joined(only); a.Generation != 1 {
		t.Errorf("%+v", a)
	}
}

func TestRebalance(t *testing.T) {
	d := pair(t, Config{})
	c := d.join(request("", "c"))
	d.open(c)
	d.want(PreparingRebalance, 1, 3)
	if x, y := d.beat("a", 1), d.beat("b", 0); x != RebalanceInProgress || y != IllegalGeneration {
		t.Errorf("heartbeats: %v, %v", x, y)
	}
	if a := d.synced(d.sync("a", 1, nil)); a.Code != RebalanceInProgress {
		t.Errorf("sync: %+v", a)
	}
	if code := d.commitAt("a", 1, "t", 5); code != None {
		t.Errorf("a member may commit before it joins again: %v", code)
	}
	a := d.join(request("a", ""))
	b := d.join(request("b", ""))
	for _, x := range []Token{a, b, c} {
		if got := d.joined(x); got.Code != None || got.Generation != 2 || got.Leader != "a" {
			t.Errorf("%+v", got)
		}
	}
	if code := d.commitAt("a", 2, "t", 6); code != RebalanceInProgress {
		t.Errorf("commit before the assignment: %v", code)
	}
	if code := d.commitAt("a", 1, "t", 6); code != IllegalGeneration {
		t.Errorf("commit of the generation before: %v", code)
	}
	if again := d.joined(d.join(request("b", ""))); again.Generation != 2 || again.Code != None { // its answer was lost
		t.Errorf("%+v", again)
	}
	waits := d.sync("b", 2, nil)
	d.join(request("c", "", Protocol{"range", []byte("other topics")}))
	if got := d.synced(waits); got.Code != RebalanceInProgress {
		t.Errorf("%+v", got)
	}
	d.want(PreparingRebalance, 2, 3)
}

// Who does not come back within the rebalance timeout, or is silent for its session timeout, is out.
func TestMembersGo(t *testing.T) {
	d := pair(t, Config{})
	for range 3 {
		d.pass(5 * time.Second)
		d.beat("b", 1)
	}
	d.want(PreparingRebalance, 1, 1)
	b := d.joined(d.join(request("b", "")))
	if b.Generation != 2 || b.Leader != "b" || len(b.Members) != 1 {
		t.Errorf("%+v", b)
	}
	late := d.join(request("", "c"))
	for range 7 {
		d.pass(5 * time.Second)
		d.beat("b", 2) // it is alive and does not join
	}
	if c := d.joined(late); c.Generation != 3 || c.Leader != "c" {
		t.Errorf("%+v", c)
	}
	d.pass(30 * time.Second) // and c does not sync
	if g := d.Describe("g"); len(g.Members) != 0 {
		t.Errorf("%+v", g)
	}
	if len(d.List()) != 0 {
		t.Errorf("an empty group without offsets stays: %+v", d.List())
	}
}

// A leader that never says who consumes what is removed, and nobody waits for ever.
func TestSilentLeader(t *testing.T) {
	d := newDesk(t, Config{})
	d.join(request("", "a"))
	d.join(request("", "b"))
	d.pass(time.Second)
	waits := d.sync("b", 1, nil)
	for range 7 {
		d.pass(5 * time.Second)
		d.beat("a", 1)
	}
	if a := d.synced(waits); a.Code != RebalanceInProgress {
		t.Errorf("%+v", a)
	}
	if a := d.joined(d.join(request("b", ""))); a.Leader != "b" || a.Generation != 2 {
		t.Errorf("%+v", a)
	}
}

// A member that waits in its first Join is dropped after a while: its connection may be gone.
func TestNewMemberGivesUp(t *testing.T) {
	d := pair(t, Config{NewMember: 20 * time.Second})
	c := d.join(request("", "c"))
	for range 5 {
		d.pass(5 * time.Second)
		d.beat("a", 1)
		d.beat("b", 1)
	}
	if a := d.joined(c); a.Code != UnknownMemberID {
		t.Errorf("%+v", a)
	}
	again := d.join(request("a", ""))
	older := d.join(request("a", ""))
	if a := d.joined(again); a.Code != RebalanceInProgress {
		t.Errorf("an older join of the same member: %+v", a)
	}
	d.join(request("b", ""))
	if a := d.joined(older); a.Generation != 2 {
		t.Errorf("%+v", a)
	}
}

func TestLeave(t *testing.T) {
	d := pair(t, Config{})
	if codes := d.leave(Leaver{Member: "x"}, Leaver{Member: "b"}, Leaver{Member: "b"}, Leaver{Instance: "i"}); codes[0] != UnknownMemberID || codes[1] != None || codes[2] != UnknownMemberID || codes[3] != UnknownMemberID {
		t.Errorf("%v", codes)
	}
	d.want(PreparingRebalance, 1, 1)
	if codes := d.leave(Leaver{Member: "a"}); codes[0] != None {
		t.Errorf("%v", codes)
	}
	if codes := d.leave(Leaver{Member: "a"}); codes[0] != UnknownMemberID {
		t.Errorf("%v", codes)
	}
	if _, whole := d.Leave(d.now, LeaveRequest{}); whole != InvalidGroupID {
		t.Errorf("no group: %v", whole)
	}
}

func TestProtocolThatMostLike(t *testing.T) {
	d := newDesk(t, Config{})
	range_, sticky, robin := Protocol{Name: "range"}, Protocol{Name: "sticky"}, Protocol{Name: "robin"}
	a := d.join(request("", "a", robin, sticky, range_))
	d.join(request("", "b", sticky, range_))
	d.join(request("", "c", range_, sticky))
	d.pass(3 * time.Second)
	if got := d.joined(a); got.Protocol != "sticky" { // a likes robin best, which b and c do not know
		t.Errorf("%+v", got)
	}
}
