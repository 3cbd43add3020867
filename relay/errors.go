package relay

import "errors"

var (
	// ErrFenced means that another owner exists: drop everything and write nothing more under this epoch.
	ErrFenced = errors.New("relay: fenced: another relay owns this outbox")

	// ErrReborn means that the database server went through crash recovery or a promotion since the rows were read: what is read and unclaimed may never
	// have been committed. Drop it and read again from 0.
	ErrReborn = errors.New("relay: the database server restarted after a crash; what was read and not claimed is dropped and read again")

	// ErrMoved means that a connection met another server history than the one the lease was granted on (promotion, restore, copy): the lease is over.
	ErrMoved = errors.New("relay: the database is not the server on which the lease was granted")

	// ErrOwned means that another relay holds the lease.
	ErrOwned = errors.New("relay: another relay owns this outbox")

	// ErrUnavailable means that the broker cannot be reached or cannot take messages now; trying again later may help.
	ErrUnavailable = errors.New("relay: destination unavailable")

	// ErrClosed means that the publisher or store was closed.
	ErrClosed = errors.New("relay: closed")
)

// ConfigError is a refusal that only a person can end: wrong credentials, another cluster behind a known name, an unsafe broker setting.
type ConfigError struct {
	Class string // ClassAuth, ClassUnsafeBroker, …
	Text  string // what failed, why, what to do
}

func (e *ConfigError) Error() string { return e.Text }

// RefusedError is given when this outbox must not be run until a person has decided: by Acquire for a copied or restored database, by any other method for
// damage that must not be passed over, such as a pending id whose row is gone.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return e.Text }
