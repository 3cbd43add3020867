package group

import (
	"testing"
	"time"
)

// desk drives a coordinator by hand.
type desk struct {
	*Coordinator
	t       testing.TB
	now     time.Time
	token   Token
	answers map[Token]Answer
	changes []Change
	hears   func(Answer) // as it leaves; nil = nobody does
}

func newDesk(t testing.TB, cfg Config) *desk {
	return &desk{Coordinator: New(cfg), t: t, now: time.UnixMilli(1_700_000_000_000), answers: map[Token]Answer{}}
}

func (d *desk) collect() {
	e := d.Take()
	d.changes = append(d.changes, e.Changes...)
	for _, a := range e.Answers {
		if _, twice := d.answers[a.Token]; twice || a.Token == 0 || a.Token > d.token || (a.Join == nil) == (a.Sync == nil) {
			d.t.Fatalf("token %d is answered wrongly or twice: %+v", a.Token, a)
		}
		d.answers[a.Token] = a
		if d.hears != nil {
			d.hears(a)
		}
	}
}

// pass lets time go by in ticks.
func (d *desk) pass(by time.Duration) {
	for end := d.now.Add(by); d.now.Before(end); {
		d.now = d.now.Add(min(100*time.Millisecond, end.Sub(d.now)))
		d.Tick(d.now)
		d.collect()
	}
}

// request is a usual Join.
func request(member, newID string, protocols ...Protocol) JoinRequest {
	if len(protocols) == 0 {
		protocols = []Protocol{{"range", []byte("sub")}}
	}
	return JoinRequest{Identity: Identity{Group: "g", Member: member}, NewID: newID, ClientID: "client", Host: "/127.0.0.1", Session: 10 * time.Second,
		Rejoin: 30 * time.Second, Kind: "consumer", Protocols: protocols}
}

func (d *desk) join(r JoinRequest) Token {
	d.token++
	d.Join(d.now, d.token, r)
	d.collect()
	return d.token
}

func (d *desk) sync(member string, generation int32, all map[string][]byte) Token {
	d.token++
	d.Sync(d.now, d.token, SyncRequest{Identity: Identity{Group: "g", Member: member, Generation: generation}, Assignments: all})
	d.collect()
	return d.token
}

func (d *desk) beat(member string, generation int32) Code {
	code := d.Heartbeat(d.now, Identity{Group: "g", Member: member, Generation: generation})
	d.collect()
	return code
}

func (d *desk) leave(l ...Leaver) []Code {
	codes, _ := d.Leave(d.now, LeaveRequest{Group: "g", Members: l})
	d.collect()
	return codes
}

func (d *desk) commitAt(member string, generation int32, topic string, at int64) Code {
	codes := d.Commit(d.now, CommitRequest{Identity: Identity{Group: "g", Member: member, Generation: generation}, Offsets: []Commit{{Partition{topic, 0}, Offset{At: at, Epoch: -1}}}})
	d.collect()
	return codes[0]
}

// joined is the answer to a Join, which must have come.
func (d *desk) joined(t Token) JoinAnswer {
	d.t.Helper()
	a, ok := d.answers[t]
	if !ok || a.Join == nil {
		d.t.Fatalf("join %d is not answered", t)
	}
	return *a.Join
}

func (d *desk) synced(t Token) SyncAnswer {
	d.t.Helper()
	a, ok := d.answers[t]
	if !ok || a.Sync == nil {
		d.t.Fatalf("sync %d is not answered", t)
	}
	return *a.Sync
}

func (d *desk) open(t Token) {
	d.t.Helper()
	if a, ok := d.answers[t]; ok {
		d.t.Fatalf("token %d is answered already: join %+v, sync %+v", t, a.Join, a.Sync)
	}
}

func (d *desk) want(state State, generation int32, members int) {
	d.t.Helper()
	if g := d.Describe("g"); g.State != state || g.Generation != generation || len(g.Members) != members {
		d.t.Fatalf("%v, generation %d, %d members; want %v, %d, %d", g.State, g.Generation, len(g.Members), state, generation, members)
	}
}

// pair is a stable group of a, which leads, and b in generation 1.
func pair(t testing.TB, cfg Config) *desk {
	t.Helper()
	d := newDesk(t, cfg)
	a, b := d.join(request("", "a")), d.join(request("", "b"))
	d.pass(time.Second)
	if x, y := d.joined(a), d.joined(b); x.Generation != 1 || y.Generation != 1 || x.Leader != "a" || y.Leader != "a" || len(x.Members) != 2 || y.Members != nil {
		t.Fatalf("%+v, %+v", x, y)
	}
	sb := d.sync("b", 1, nil)
	d.open(sb)
	sa := d.sync("a", 1, map[string][]byte{"a": []byte("0"), "b": []byte("1"), "stranger": []byte("2")})
	if x, y := d.synced(sa), d.synced(sb); string(x.Assignment) != "0" || string(y.Assignment) != "1" || x.Protocol != "range" || x.Kind != "consumer" {
		t.Fatalf("%+v, %+v", x, y)
	}
	d.want(Stable, 1, 2)
	return d
}
