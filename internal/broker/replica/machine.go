package replica

import (
	"errors"
	"iter"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/fsm"
)

// Machine is the state of a group. Its methods are called by one goroutine at a time.
type Machine interface {
	// Apply does what a committed entry wishes, which stands at a place of the log, and returns one result for each command.
	Apply(at commitlog.Position, term uint64, e fsm.Entry) []fsm.Result
	// Snapshot appends the state to dst, Restore takes it in place of what the machine holds. With several voters it may be the state of another node: nothing in
	// it may hold on this node alone, but for a [Pointing] machine.
	Snapshot(dst []byte) []byte
	Restore(b []byte) error
}

// Pointing is a Machine that remembers where in this node's log entries lie. Its Snapshot is for this node alone; Restore takes a bare state too.
type Pointing interface {
	Machine
	// Bare appends the state to dst without any place.
	Bare(dst []byte) []byte
	// Oldest is the place of the oldest entry that the state points to; false = it points to none.
	Oldest() (commitlog.Position, bool)
	// Forward returns a bare state behind more entries, each with its term. It does not touch the machine, and may run beside its other methods.
	Forward(bare []byte, entries iter.Seq2[uint64, fsm.Entry]) ([]byte, error)
}

var (
	// ErrNotLeader means that this node does not lead the group. Nothing was proposed.
	ErrNotLeader = errors.New("this node does not lead the group")
	// ErrStopped means that the node does not run any more, in order or after an error of its disk. What was proposed may be stored.
	ErrStopped = errors.New("the broker has stopped")
	// ErrLeadershipLost means that the leader that proposed a command leads no more. It may be stored.
	ErrLeadershipLost = errors.New("the node lost the leadership of the group before the answer")
	// ErrTimeout means that there was no answer within the limit of a proposal. It may be stored.
	ErrTimeout = errors.New("no answer in time")
	// ErrUnreplicated is ErrTimeout for what this node has synced, and no majority. It may be stored.
	ErrUnreplicated = errors.New("no majority has confirmed it in time")
	// ErrTooLarge means that a command does not fit into an entry. Nothing was proposed.
	ErrTooLarge = errors.New("larger than an entry of the log may be")
)
