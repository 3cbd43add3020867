package relay

import (
	"context"
	"errors"
)

// Once makes a request that is sent twice do its work once: whoever got no answer asks again under the same key. Safe for concurrent use.
type Once interface {
	// Once calls do, with a context whose acts belong to one transaction with the answer that do returns: both are kept, or neither is. For 24 h the same request
	// under the same key then gets that answer, without do. An error of do is returned as it is, undoes its acts, and is not kept. ErrRunning, ErrOtherRequest; ErrBusy
	// as of Operator. do may be called again after it met a lock. It blocks as long as do, and at most 20 s.
	Once(ctx context.Context, asked Asked, do func(ctx context.Context) (Answered, error)) (Answered, error)
}

// Asked names a request.
type Asked struct {
	Actor   string
	Key     string   // 1 to 64 bytes; of the actor's own
	Request [32]byte // hash of what is asked
}

// Answered is what a program was told, at most 256 KiB.
type Answered struct {
	Code     int
	Location string // empty = none
	Body     []byte
}

var (
	// ErrRunning means that a request under this key is being worked at.
	ErrRunning = errors.New("a request under this key is still running")
	// ErrOtherRequest means that this key was used for another request.
	ErrOtherRequest = errors.New("this key was used for another request")
)
