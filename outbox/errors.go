package outbox

import (
	"errors"
	"fmt"
)

// What the database refuses, by its SQLSTATE. Ask with errors.Is; the driver's error stays in the chain.
var (
	// ErrLength is OB001: topic, key or message id too short or too long, or DeliverAfter outside the years 1 to 9999.
	ErrLength = errors.New("outbox: topic, key, message id or delivery time out of range")

	// ErrNullPayload is OB002: Payload is nil without Tombstone, or set with it.
	ErrNullPayload = errors.New("outbox: payload missing")

	// ErrHeaders is OB003: a header name is empty or begins with "waybill-".
	ErrHeaders = errors.New("outbox: headers refused")

	// ErrTooLarge is OB004: payload, key and headers are larger than the destination of the topic takes.
	ErrTooLarge = errors.New("outbox: message too large")

	// ErrMessageIDUsed is OB005: the message id belongs to a message with another topic, key or payload.
	ErrMessageIDUsed = errors.New("outbox: message id already used")

	// ErrTooManyUnsent is OB006: the relay is too far behind, or none runs, and the operators set a limit. Trying again later may help.
	ErrTooManyUnsent = errors.New("outbox: too many unsent messages")
)

var byState = map[string]error{"OB001": ErrLength, "OB002": ErrNullPayload, "OB003": ErrHeaders, "OB004": ErrTooLarge, "OB005": ErrMessageIDUsed,
	"OB006": ErrTooManyUnsent}

// SchemaError says that the database has no schema for this library, or an older one.
type SchemaError struct {
	Schema string
	Found  int // its version; 0 = not known: missing, or met inside a transaction
	err    error
}

// Error says what to do.
func (e *SchemaError) Error() string {
	if e.Found > 0 {
		return fmt.Sprintf("outbox: schema %q is version %d, this library needs %d; run: waybill migrate up", e.Schema, e.Found, SchemaVersion)
	}
	return fmt.Sprintf("outbox: schema %q is missing or older than version %d, which this library needs; run: waybill migrate up", e.Schema, SchemaVersion)
}

// Unwrap returns the driver's error, if there was one.
func (e *SchemaError) Unwrap() error { return e.err }

// explain classifies a driver's error by its SQLSTATE, which every driver for PostgreSQL tells through a method.
func explain(err error, schema string) error {
	state := sqlState(err)
	if known, ok := byState[state]; ok {
		return fmt.Errorf("%w: %w", known, err)
	}
	switch state {
	case "42883", "42P01", "3F000": // function, table, schema not there
		return &SchemaError{Schema: schema, err: err}
	case "42501":
		return fmt.Errorf("outbox: this login may not publish; run: GRANT %s_producer TO it: %w", schema, err)
	default:
		return fmt.Errorf("outbox: publish: %w", err)
	}
}

func sqlState(err error) string {
	var stated interface{ SQLState() string }
	if errors.As(err, &stated) {
		return stated.SQLState()
	}
	return ""
}
