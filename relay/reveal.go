package relay

import "context"

// Revealer gives what a message carries to a person. Safe for concurrent use; blocks at most 10 s.
type Revealer interface {
	// Reveal returns headers and payload of a message after its row in the activity log, with who and why, was committed; on every error it returns nothing. A payload of
	// more than MaxReveal bytes is left out. Errors: ErrNotFound, ErrDenied; any other error means that the database could not do it now.
	Reveal(ctx context.Context, id ID, act Act) (Revealed, error)
}

// MaxReveal is the largest payload, in bytes, that is revealed.
const MaxReveal = 1 << 20

// Revealed is what a message carries, as it was written.
type Revealed struct {
	Activity    int64 // row of the activity log
	ID          ID
	Topic       string
	ContentType string
	Headers     map[string]string
	Absent      bool // it has no payload: a tombstone
	Size        int  // bytes of the payload
	Payload     []byte
}

// TooLarge says that the payload was left out.
func (r *Revealed) TooLarge() bool { return r.Size > MaxReveal }
