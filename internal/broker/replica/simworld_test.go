package replica

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// dice is the one source of chance.
type dice struct{ *rand.Rand }

func (d dice) Duration(most time.Duration) time.Duration { return time.Duration(d.Int64N(int64(most))) }

// world is time, net and faults.
type world struct {
	rng     *rand.Rand
	dice    dice
	now     time.Duration
	events  events
	steps   int
	chaos   bool
	nodes   [simNodes]*simNode
	cut     [simNodes + 1][simNodes + 1]bool // messages from, to
	loss    float64
	twice   float64
	late    float64
	deadly  float64       // how often a power cut follows such a message
	pause   time.Duration // between faults, at most
	history *history
	open    []*call
	serial  int
	taken   int // states of another node
	trace   interface {
		io.Writer
		Sum64() uint64
	}
}

// event happens at a moment; those of one moment in the order in which they were scheduled.
type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// violation is what fail throws.
type violation struct{ error }

func (w *world) fail(format string, args ...any) { panic(violation{fmt.Errorf(format, args...)}) }

// note is the trace; its hash tells runs apart.
func (w *world) note(format string, args ...any) {
	fmt.Fprintf(w.trace, "%d ", w.now)
	fmt.Fprintf(w.trace, format, args...)
	if *simTrace {
		fmt.Printf("%12v "+format+"\n", append([]any{w.now}, args...)...)
	}
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{w.now + d, w.serial, do})
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) damage() vfs.Damage {
	return vfs.Damage{Writes: w.rng.Float64(), Names: w.rng.Float64(), Grows: w.rng.Float64()}
}

// run lets time pass.
func (w *world) run(until time.Duration) {
	for len(w.events) > 0 && w.events[0].at <= until {
		e := heap.Pop(&w.events).(event)
		w.now = e.at
		w.steps++
		e.do()
	}
	w.now = until
}

// deadly are the messages behind which a power cut is worth most: they promise something.
var deadly = map[pb.MessageType]float64{pb.MsgVote: 0.05, pb.MsgVoteResp: 0.15, pb.MsgAppResp: 0.001, pb.MsgSnap: 0.1}

// send is the net.
func (w *world) send(from *simNode, m Message) {
	if !from.up && from.life > 0 { // what it sends while it ends
		return
	}
	w.promise(from, m)
	copies := 1
	switch {
	case w.cut[m.From][m.To], w.chance(w.loss):
		if w.chance(0.5) { // the sender notices, or not
			life := from.life
			w.after(w.dice.Duration(50*time.Millisecond), func() { from.mine(life, func() { from.host.Dropped(m) }) })
		}
		return
	case w.chance(w.twice):
		copies = 2
	}
	if kind := pb.MessageType(m.Body[1]); w.chaos && w.chance(deadly[kind]*w.deadly) {
		w.note("node %d will lose its power: it has sent %v", m.From, kind)
		life := from.life
		w.after(w.dice.Duration(300*time.Microsecond), func() {
			if from.up && from.life == life {
				from.powerCut(w.damage())
				w.after(w.dice.Duration(500*time.Millisecond), from.restart)
			}
		})
	}
	to := w.nodes[m.To-1]
	for range copies {
		d := 200*time.Microsecond + w.dice.Duration(2*time.Millisecond)
		if w.chance(w.late) {
			d += w.dice.Duration(3 * time.Second)
		}
		w.after(d, func() {
			life := to.life // whichever life it meets
			to.mine(life, func() {
				if err := to.host.Deliver(m); err != nil {
					w.fail("node %d refuses a message of node %d: %v", m.To, m.From, err)
				}
			})
		})
	}
}
