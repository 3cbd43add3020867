package relay

import (
	"context"
	"errors"
	"time"
)

// Operator is for people's hands. Each act changes at most MaxActed messages in one transaction, together with its row in the activity log: without that row
// nothing is changed. A message that is being sent is left alone, and the answer says so. Safe for concurrent use; blocks at most 5 s. Errors: ErrBusy,
// ErrDenied, where it is said *StateError; any other error means that the database could not do it now, and that perhaps it was done: look before repeating.
type Operator interface {
	// Retry makes dead and retrying messages due now, with new attempts; behind another one of its key a message waits as blocked. A discarded message comes
	// back, outside the order of its key.
	Retry(ctx context.Context, ids []ID, act Act) (Acted, error)

	// Skip lets the keys of dead messages go on without them. They stay dead.
	Skip(ctx context.Context, ids []ID, act Act) (Acted, error)

	// Discard gives held messages up for good; their keys go on. A reason is required. Retry takes it back while the message's row exists.
	Discard(ctx context.Context, ids []ID, act Act) (Acted, error)

	// Pause stops a destination, or with an empty name all of them, until it is resumed, or until the moment that is given; zero = none. A reason is required. The owner
	// obeys within two seconds, and goes on within two of the end, by the database's clock. It returns the row of the activity log. *StateError: it is paused already, or
	// that moment is over.
	Pause(ctx context.Context, destination string, until time.Time, act Act) (activity int64, err error)

	// Resume takes that pause back: the pause of all does not touch those of single destinations, nor they it. *StateError: there is none, or it is over.
	Resume(ctx context.Context, destination string, act Act) (activity int64, err error)
}

// MaxActed is the most messages of one act.
const MaxActed = 500

// ErrBusy means that somebody else held one of the messages for too long. Nothing was changed.
var ErrBusy = errors.New("busy: nothing was changed, try again")

// Act says who acts and why; it goes into the activity log.
type Act struct {
	Actor   string // required: cli:ana@host
	Via     string // cli, ui, api or auto
	Reason  string
	Address string // network address; empty = none
}

// Acted is the exact answer of an act: Changed + Sending + Other + Missing = Requested.
type Acted struct {
	Activity  int64 // row of the activity log
	Requested int
	Changed   int
	Sending   int  // being sent now: left alone
	Other     int  // in a state that the act does not apply to
	Missing   int  // not held: pending, sent or unknown
	Unchanged []ID // those that were not changed, ascending
}
