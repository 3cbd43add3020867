package group

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/kp"
	"github.com/waybillmq/waybill/internal/kp/kptest"
)

// consumer is a client in the simulation, with all that it remembers.
type consumer struct {
	instance, id string
	generation   int32
	leads        bool
	roster       []JoinedMember
	waits        Token
	assigned     bool
}

// world is one group with its clients, some of which are late, wrong or dead.
type world struct {
	*desk
	r          *rand.Rand
	consumers  []*consumer
	names      int
	generation int32                       // the highest that was begun in this life of the group
	owners     map[int32]map[string]string // generation, what was assigned → the first member that heard it
	given      map[string]string           // generation and member → assignment
	holder     map[string]string           // instance → the newest member id
	old        []Identity                  // of clients that were replaced or have gone on
	seen       int                         // changes looked at
	codes      map[Code]int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{desk: newDesk(t, Config{Members: 6}), r: rand.New(rand.NewPCG(seed, 1)), codes: map[Code]int{}}
	w.reborn()
	w.hears = func(a Answer) {
		if a.Join == nil || a.Join.Code != None {
			return
		}
		if m := w.groups["g"].members[a.Join.Member]; m != nil && m.instance != "" {
			w.holder[m.instance] = m.id
		}
	}
	for i := range 5 {
		c := &consumer{generation: -1}
		if i >= 3 {
			c.instance = fmt.Sprintf("i%d", i)
		}
		w.consumers = append(w.consumers, c)
	}
	return w
}

// reborn forgets what holds within one life of the group.
func (w *world) reborn() {
	w.generation, w.owners, w.given, w.holder = 0, map[int32]map[string]string{}, map[string]string{}, map[string]string{}
}

func (w *world) identity(c *consumer) Identity { return Identity{"g", c.id, c.instance, c.generation} }

func (w *world) step() {
	c := w.consumers[w.r.IntN(len(w.consumers))]
	switch n := w.r.IntN(100); {
	case n < 8:
		w.pass(time.Duration(w.r.IntN(8000)) * time.Millisecond)
	case n < 10:
		w.restart()
	case n < 12: // the process dies and another one starts
		w.old = append(w.old, w.identity(c))
		*c = consumer{instance: c.instance, generation: -1}
	case n < 14 && c.id != "":
		codes, _ := w.Leave(w.now, LeaveRequest{Group: "g", Members: []Leaver{{c.id, c.instance}}})
		w.codes[codes[0]]++
		w.old = append(w.old, w.identity(c))
		*c = consumer{instance: c.instance, generation: -1}
	case n < 20 && len(w.old) > 0:
		w.haunt(w.old[w.r.IntN(len(w.old))])
	case n < 24 && c.assigned: // a client may join again whenever it likes
		w.joinAs(c)
	case n < 27 && c.leads && c.assigned: // a leader that assigns again
		w.syncAs(c)
	case c.waits != 0:
		w.hear(c)
	case c.generation < 0:
		w.joinAs(c)
	case !c.assigned:
		w.syncAs(c)
	case n < 60:
		w.beatAs(c)
	default:
		w.commitAs(w.identity(c), int64(w.r.IntN(1000)))
	}
	w.collect()
	w.invariants()
}

// haunt speaks for a client that is no more.
func (w *world) haunt(id Identity) {
	switch w.r.IntN(3) {
	case 0:
		w.commitAs(id, 1)
	case 1:
		w.believed("heartbeat", id, w.Heartbeat(w.now, id))
	default:
		w.token++
		w.Sync(w.now, w.token, SyncRequest{Identity: id})
	}
}

func (w *world) joinAs(c *consumer) {
	if c.id != "" {
		w.old = append(w.old, w.identity(c))
	}
	w.names++
	r := request(c.id, fmt.Sprintf("m%d", w.names), Protocol{"range", []byte{byte(w.r.IntN(2))}})
	r.Instance, r.NeedsID = c.instance, w.r.IntN(2) == 0
	c.generation, c.assigned, c.leads = -1, false, false
	c.waits = w.join(r)
}

func (w *world) syncAs(c *consumer) {
	all := map[string][]byte{}
	if c.leads {
		for i, part := range w.r.Perm(len(c.roster)) { // each member another share each time
			all[c.roster[i].Member] = fmt.Appendf(nil, "share %d", part)
		}
	}
	w.token++
	c.waits = w.token
	w.Sync(w.now, w.token, SyncRequest{Identity: w.identity(c), Assignments: all})
}

func (w *world) beatAs(c *consumer) {
	code := w.Heartbeat(w.now, w.identity(c))
	w.believed("heartbeat", w.identity(c), code)
	w.react(c, code)
}

func (w *world) react(c *consumer, code Code) {
	w.codes[code]++
	switch code {
	case None:
	case RebalanceInProgress, IllegalGeneration:
		c.generation, c.assigned = -1, false
	default:
		*c = consumer{instance: c.instance, generation: -1}
	}
}

func (w *world) commitAs(id Identity, at int64) {
	code := w.Commit(w.now, CommitRequest{Identity: id, Offsets: []Commit{{Partition{"t", 0}, Offset{At: at}}}})[0]
	w.codes[code]++
	w.believed("commit", id, code)
	if g := w.Describe("g"); code == None && id.Generation >= 0 && id.Generation != g.Generation {
		w.t.Fatalf("a commit of generation %d was taken in %d", id.Generation, g.Generation)
	}
}

// believed: who was taken for a member is one, and the newest under its instance id.
func (w *world) believed(what string, id Identity, code Code) {
	if code != None || id.Generation < 0 {
		return
	}
	if now := w.holder[id.Instance]; id.Instance != "" && now != "" && now != id.Member {
		w.t.Fatalf("%s of %s was believed, which %s has fenced", what, id.Member, now)
	}
	if w.groups["g"].members[id.Member] == nil {
		w.t.Fatalf("%s of %s was believed, which is no member", what, id.Member)
	}
}

// hear takes the answer that a consumer waits for.
func (w *world) hear(c *consumer) {
	a, ok := w.answers[c.waits]
	if !ok {
		return
	}
	c.waits = 0
	switch {
	case a.Sync != nil:
		c.assigned = a.Sync.Code == None
		w.react(c, a.Sync.Code)
	case a.Join.Code == MemberIDRequired:
		w.codes[MemberIDRequired]++
		c.id = a.Join.Member
	default:
		w.react(c, a.Join.Code)
		if a.Join.Code == None {
			c.id, c.generation, c.leads, c.roster = a.Join.Member, a.Join.Generation, a.Join.Leader == a.Join.Member, a.Join.Members
		}
	}
}

// collect looks at each change as it is stored.
func (w *world) collect() {
	w.desk.collect()
	for _, x := range w.changes[w.seen:] {
		switch {
		case x.Kind == GroupForgotten:
			w.reborn()
		case x.Kind == GroupStored && !x.Stored.Assigned:
			if x.Stored.Generation <= w.generation {
				w.t.Fatalf("generation %d begins behind %d", x.Stored.Generation, w.generation)
			}
			w.generation = x.Stored.Generation
		case x.Kind == GroupStored:
			w.assigned(x.Stored)
		}
	}
	w.seen = len(w.changes)
}

// assigned: a member has one assignment in a generation, and no two have the same.
func (w *world) assigned(s *StoredGroup) {
	if w.owners[s.Generation] == nil {
		w.owners[s.Generation] = map[string]string{}
	}
	for _, m := range s.Members {
		if len(m.Assignment) == 0 {
			continue
		}
		who := m.Member
		if m.Instance != "" {
			who = m.Instance // whoever follows takes over what it had
		}
		if was, ok := w.owners[s.Generation][string(m.Assignment)]; ok && was != who {
			w.t.Fatalf("generation %d: %s is assigned to %s and to %s", s.Generation, m.Assignment, was, who)
		}
		w.owners[s.Generation][string(m.Assignment)] = who
	}
}

// invariants are those of the package comment, and that the bytes are counted right.
func (w *world) invariants() {
	var bytes int64
	for _, g := range w.groups {
		bytes += g.weight()
		for p, o := range g.offsets {
			bytes += offsetBytes(p, o)
		}
		for _, m := range g.members {
			bytes += m.weight()
			if m.instance != "" && g.static[m.instance] != m.id {
				w.t.Fatalf("instance %s is of %s, not of %s", m.instance, g.static[m.instance], m.id)
			}
		}
		if running := g.state == CompletingRebalance || g.state == Stable; running && g.members[g.leader] == nil || running == (g.protocol == "") && len(g.members) > 0 && running {
			w.t.Fatalf("%v: leader %q of %d members", g.state, g.leader, len(g.members))
		}
		if (g.state == Empty) != (len(g.members) == 0) || len(g.members)+len(g.pending) > w.cfg.Members {
			w.t.Fatalf("%v with %d members and %d ids", g.state, len(g.members), len(g.pending))
		}
	}
	if bytes != w.bytes {
		w.t.Fatalf("%d bytes are counted as %d", bytes, w.bytes)
	}
}

// restart: the coordinator dies with all that waits in it, and a new one begins with what is stored.
func (w *world) restart() {
	w.desk.collect()
	short, long := New(w.cfg), New(w.cfg)
	for _, x := range w.Snapshot() {
		short.Replay(x)
	}
	for _, x := range w.changes {
		y, err := DecodeChange(x.Append(nil))
		if err != nil {
			w.t.Fatal(err)
		}
		long.Replay(y)
	}
	long.Begin(w.now)
	short.Begin(w.now)
	if a, b := long.Snapshot(), short.Snapshot(); len(a) != len(b) || len(a) > 0 && !reflect.DeepEqual(encoded(a), encoded(b)) {
		w.t.Fatalf("the changes lead to\n%+v\nand the snapshot to\n%+v", a, b)
	}
	w.Coordinator = long
	for _, c := range w.consumers {
		if c.waits != 0 && w.r.IntN(2) == 0 {
			*c = consumer{instance: c.instance, generation: -1}
		} else if _, answered := w.answers[c.waits]; c.waits != 0 && !answered {
			c.waits, c.generation, c.assigned = 0, -1, false
		}
	}
	for t := range w.token { // nobody waits for those any more
		if _, ok := w.answers[t+1]; !ok {
			w.answers[t+1] = Answer{}
		}
	}
}

func encoded(list []Change) (all []string) {
	for _, x := range list {
		all = append(all, string(x.Append(nil)))
	}
	return all
}

func TestSimulation(t *testing.T) {
	codes, stable := map[Code]int{}, 0
	for seed := range uint64(60) {
		w := newWorld(t, seed)
		w.codes = codes
		for range 1500 {
			w.step()
			if w.Describe("g").State == Stable {
				stable++
			}
		}
		w.pass(40 * time.Minute) // silence: nothing stays open
		for token := range w.token {
			if _, ok := w.answers[token+1]; !ok {
				t.Fatalf("seed %d: token %d of %d is never answered", seed, token+1, w.token)
			}
		}
		if g := w.Describe("g"); len(g.Members) > 0 {
			t.Fatalf("seed %d: silent members stay: %+v", seed, g)
		}
	}
	for _, code := range []Code{None, IllegalGeneration, UnknownMemberID, RebalanceInProgress, MemberIDRequired, GroupMaxSizeReached, FencedInstanceID} {
		if codes[code] == 0 {
			t.Errorf("no answer was %v", code)
		}
	}
	if stable < 4_000 {
		t.Errorf("only %d steps saw a stable group", stable)
	}
	t.Logf("%d steps saw a stable group; answers: %v", stable, codes)
}

// The simulation finds every bug that is planted in the coordinator.
func TestPlantedBugs(t *testing.T) {
	kptest.Hunt(t, "TestSimulation", kp.GroupBugs)
}
