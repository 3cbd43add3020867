package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/broker/replica"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// trio is three nodes in one process. The net between them is a timer for each message.
type trio struct {
	t       testing.TB
	cfg     Config // of each, but for Cluster
	members [3]*member
	voters  []uint64

	mu     sync.Mutex // guards what is below
	rng    *rand.Rand
	cut    [3][3]bool
	loss   float64
	late   float64
	states int             // sent to followers far behind
	lost   map[uint16]bool // groups whose messages get lost
	failed []string
	told   []string // every failure of a chore, also what is to be expected
}

// member is a node, its disk, and while it is up its life.
type member struct {
	at   int
	fs   *vfs.Memory
	life atomic.Pointer[life]
	turn chan struct{} // one slot: taken while a life begins or ends, so that none begins on the disk of another
}

// mine waits for the turn, and returns what gives it back. It is no mutex: virtual time goes on meanwhile.
func (m *member) mine() (done func()) {
	m.turn <- struct{}{}
	return func() { <-m.turn }
}

// life lasts from a start to a crash.
type life struct {
	*Node
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // when ended
	gone   atomic.Bool
	badIO  atomic.Bool // the next sync fails
}

var errGone = errors.New("the machine has no power")

func newTrio(t testing.TB, cfg Config, seed uint64) *trio {
	tr := &trio{t: t, cfg: cfg, rng: rand.New(rand.NewPCG(seed, 8))}
	for i := range tr.members {
		m := &member{at: i, fs: vfs.NewMemory(), turn: make(chan struct{}, 1)}
		id, err := Prepare(cfg.Dir, [16]byte{1}, m.fs)
		must(t, err)
		tr.members[i], tr.voters = m, append(tr.voters, id)
	}
	return tr
}

func (tr *trio) start(m *member) {
	defer m.mine()()
	if l := m.life.Load(); l != nil && !l.gone.Load() {
		return
	}
	l := &life{ended: make(chan struct{})}
	cfg := tr.cfg
	cfg.Cluster = &Cluster{Voters: tr.voters, Send: func(msg Message) { tr.send(l, m.at, msg) }}
	cfg.Failed = func(op string, err error) {
		tr.mu.Lock()
		tr.told = append(tr.told, op+": "+err.Error())
		tr.mu.Unlock()
		if !l.gone.Load() && !errors.Is(err, ErrStopped) && !errors.Is(err, replica.ErrTimeout) && !errors.Is(err, ErrFlushTimeout) && !errors.Is(err, ErrReplicationTimeout) {
			tr.fail(op + ": " + err.Error())
		}
	}
	var err error
	l.Node, err = Open(cfg, vfs.Inject(m.fs, func(op vfs.Op) (int, error) {
		if l.gone.Load() || op.Kind == vfs.Datasync && l.badIO.CompareAndSwap(true, false) {
			return 0, errGone
		}
		return 0, nil
	}))
	must(tr.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	m.life.Store(l)
	go func() {
		defer close(l.ended)
		l.err = l.Run(ctx)
	}()
}

func (tr *trio) fail(text string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.failed = append(tr.failed, text)
}

// send is the net.
func (tr *trio) send(l *life, from int, msg Message) {
	to := 0
	for to < 2 && tr.voters[to] != msg.To {
		to++
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if l.gone.Load() {
		return
	}
	d := 200*time.Microsecond + time.Duration(tr.rng.IntN(1000))*time.Microsecond
	if tr.cut[from][to] || tr.lost[msg.Group] || tr.rng.Float64() < tr.loss {
		if tr.rng.IntN(2) == 0 {
			time.AfterFunc(d, func() { l.Dropped(msg) })
		}
		return
	}
	if tr.rng.Float64() < tr.late {
		d += time.Duration(tr.rng.IntN(2000)) * time.Millisecond
	}
	if msg.Lane == replica.LaneBulk {
		tr.states++
	}
	time.AfterFunc(d, func() {
		if l := tr.members[to].life.Load(); l != nil && !l.gone.Load() {
			if err := l.Deliver(msg); err != nil {
				tr.fail(err.Error())
			}
		}
	})
}

// crash ends lives at once, all at the same moment. Nothing else runs then: not a single operation of a disk is half done.
func (tr *trio) crash(damage func() vfs.Damage, members ...*member) {
	for _, m := range members {
		defer m.mine()()
	}
	synctest.Wait()
	var ending []*life
	for _, m := range members {
		l := m.life.Load()
		if l == nil || l.gone.Swap(true) {
			continue
		}
		d := damage()
		tr.mu.Lock()
		m.fs = m.fs.Crash(d, tr.rng)
		tr.mu.Unlock()
		ending = append(ending, l)
	}
	for _, l := range ending {
		l.cancel()
		<-l.ended
	}
}

// stop ends a life in order.
func (tr *trio) stop(m *member) {
	defer m.mine()()
	if l := m.life.Load(); l != nil && !l.gone.Load() {
		l.cancel()
		<-l.ended
		l.gone.Store(true)
		if l.err != nil && !errors.Is(l.err, errGone) {
			tr.fail("stopped: " + l.err.Error())
		}
	}
}

// stopAll ends everything and says what went wrong meanwhile.
func (tr *trio) stopAll() {
	for _, m := range tr.members {
		tr.stop(m)
	}
	for _, f := range tr.failed {
		tr.t.Error(f)
	}
}

// any calls f with one node after the other, first with the one that is said to lead, until it returns another error than that the node does not lead.
func (tr *trio) any(f func(n *Node) error) error {
	err := error(&NotLeaderError{})
	next := tr.dice(3)
	for range 5 {
		l := tr.members[next].life.Load()
		next = (next + 1) % 3
		if l == nil || l.gone.Load() {
			continue
		}
		if err = f(l.Node); !errors.Is(err, ErrNotLeader) {
			return err
		}
		var other *NotLeaderError
		if errors.As(err, &other) && other.Leader != 0 {
			for i, id := range tr.voters {
				if id == other.Leader {
					next = i
				}
			}
		}
	}
	return err
}

func (tr *trio) dice(n int) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.rng.IntN(n)
}

func (tr *trio) chance(p float64) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.rng.Float64() < p
}

// until tries f again and again, for a minute at most.
func (tr *trio) until(f func() error) error {
	err := f()
	for began := time.Now(); err != nil && time.Since(began) < time.Minute; err = f() {
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// local is what a node holds of a partition itself, whoever leads.
func (tr *trio) local(m *member, topic string, partition int32) (start int64, values []string, err error) {
	n := m.life.Load().Node
	start, high, err := n.Bounds(topic, partition)
	if err != nil {
		return 0, nil, err
	}
	place, err := n.place(topic, partition)
	for at := start; err == nil && at < high; {
		var batches []StoredBatch
		if batches, err = n.read(topic, partition, place, at, 64<<10); err != nil {
			break
		}
		for _, b := range batches {
			v := valuesOf(b)
			switch end := b.Base + int64(len(v)); {
			case b.Base > at || end <= at:
				return 0, nil, errors.New("offsets are not dense")
			default:
				values = append(values, v[at-b.Base:]...)
				at = end
			}
		}
	}
	return start, values, err
}
