package group

import (
	"testing"
	"time"
)

// KIP-345: a static member that starts anew takes its old place without a rebalance, and fences whoever had it.
func static(member, newID, instance string) JoinRequest {
	r := request(member, newID)
	r.Instance = instance
	return r
}

func staticPair(t *testing.T) *desk {
	t.Helper()
	d := newDesk(t, Config{})
	d.join(static("", "a", "one"))
	d.join(static("", "b", "two"))
	d.pass(time.Second)
	d.sync("a", 1, map[string][]byte{"a": []byte("0"), "b": []byte("1")})
	d.sync("b", 1, nil)
	d.want(Stable, 1, 2)
	return d
}

func TestStaticMemberComesBack(t *testing.T) {
	d := staticPair(t)
	if a := d.joined(d.join(static("", "b2", "two"))); a.Code != None || a.Generation != 1 || a.Leader != "a" || a.Member != "b2" || a.Members != nil {
		t.Errorf("%+v", a)
	}
	if a := d.synced(d.sync("b2", 1, nil)); string(a.Assignment) != "1" {
		t.Errorf("%+v", a)
	}
	id := Identity{Group: "g", Member: "b", Instance: "two", Generation: 1}
	if code := d.Heartbeat(d.now, id); code != FencedInstanceID {
		t.Errorf("heartbeat of the one before: %v", code)
	}
	if codes := d.Commit(d.now, CommitRequest{Identity: id, Offsets: []Commit{{Partition{"t", 0}, Offset{At: 1}}}}); codes[0] != FencedInstanceID {
		t.Errorf("commit of the one before: %v", codes)
	}
	if a := d.joined(d.join(static("b", "", "two"))); a.Code != FencedInstanceID {
		t.Errorf("join of the one before: %+v", a)
	}
	if codes := d.leave(Leaver{Member: "b", Instance: "two"}); codes[0] != FencedInstanceID {
		t.Errorf("leave of the one before: %v", codes)
	}
	if code := d.beat("b", 1); code != UnknownMemberID {
		t.Errorf("without its instance: %v", code)
	}
	d.want(Stable, 1, 2)
}

// A leader that starts anew is not to assign anew: it is told so (version 9), or that another one leads.
func TestStaticLeaderComesBack(t *testing.T) {
	d := staticPair(t)
	old := d.joined(d.join(static("", "a2", "one")))
	if old.Code != None || old.Leader != "a" || old.Member != "a2" || old.Members != nil || old.Skip {
		t.Errorf("%+v", old)
	}
	r := static("", "a3", "one")
	r.MaySkip = true
	if a := d.joined(d.join(r)); !a.Skip || a.Leader != "a3" || len(a.Members) != 2 {
		t.Errorf("%+v", a)
	}
	d.want(Stable, 1, 2)
	waits := d.join(static("a3", "", "one")) // a leader that joins again by its id wants a rebalance
	d.want(PreparingRebalance, 1, 2)
	next := d.join(static("", "a4", "one"))
	if a := d.joined(waits); a.Code != FencedInstanceID {
		t.Errorf("%+v", a)
	}
	d.join(static("b", "", "two"))
	if a := d.joined(next); a.Generation != 2 || a.Leader != "a4" {
		t.Errorf("%+v", a)
	}
	sync := d.sync("b", 2, nil)
	again := d.join(static("", "b5", "two"))
	if a := d.synced(sync); a.Code != FencedInstanceID {
		t.Errorf("%+v", a)
	}
	d.open(again)
}

// Other ways of assignment need a rebalance, also of a static member.
func TestStaticMemberChanges(t *testing.T) {
	d := newDesk(t, Config{})
	both := []Protocol{{Name: "range"}, {Name: "sticky"}}
	one, two := static("", "a", "one"), static("", "b", "two")
	one.Protocols, two.Protocols = both, both
	d.join(one)
	d.join(two)
	d.pass(time.Second)
	d.sync("a", 1, nil)
	d.sync("b", 1, nil)
	two.NewID, two.Protocols = "b2", []Protocol{{Name: "sticky"}}
	d.open(d.join(two))
	d.want(PreparingRebalance, 1, 2)
}

// A rebalance does not throw out static members that are away; their session timeout does.
func TestStaticMembersAway(t *testing.T) {
	d := newDesk(t, Config{})
	for _, m := range []string{"a", "b"} {
		r := static("", m, m)
		r.Session, r.Rejoin = time.Minute, 10*time.Second
		d.join(r)
	}
	d.pass(time.Second)
	d.sync("a", 1, nil)
	d.sync("b", 1, nil)
	c := d.join(request("", "c"))
	d.pass(31 * time.Second)
	if a := d.joined(c); a.Generation != 2 || a.Leader != "c" || len(a.Members) != 3 {
		t.Errorf("%+v", a)
	}
	d.leave(Leaver{Instance: "a"}, Leaver{Member: "c"})
	d.want(PreparingRebalance, 2, 1)
	d.pass(12 * time.Second) // nobody joins, and b is static: the rebalance waits on
	d.want(PreparingRebalance, 2, 1)
	d.pass(time.Minute)
	if len(d.List()) != 0 {
		t.Errorf("%+v", d.List())
	}
}
