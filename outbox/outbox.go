package outbox

import (
	"context"
	"database/sql"
	"time"
)

// Message is one message to publish.
type Message struct {
	Topic string // 1 to 249 bytes; a route of the relay maps it to a destination

	// Key is what must stay in order within the topic, 1 to 1,024 bytes. Empty: no key, no order asked.
	Key string

	Type    string            // what kind of message it is, for consumers; empty = none
	Headers map[string]string // names are not empty and do not begin with "waybill-"; nil = none

	// Payload is the body. nil is refused unless Tombstone is set; an empty body is []byte{}.
	Payload     []byte
	ContentType string // of the payload; empty = application/octet-stream

	// MessageID is what consumers drop repeats by, 1 to 256 bytes. Empty: the outbox makes one. With an id of your own a transaction may be repeated after
	// a COMMIT whose answer was lost: the same id with the same topic, key and payload is accepted and written once; with others it is ErrMessageIDUsed. An
	// id is remembered as long as its message.
	MessageID string

	// DeliverAfter holds the message back until then, to the microsecond, in the years 1 to 9999; its place in the order of its key is the time when it
	// falls due. Zero: at once.
	DeliverAfter time.Time

	Tombstone bool // no payload at all: "this key is gone" for a compacted topic; Payload must be nil, ContentType is not used

	// Unordered gives up the order of the key between overlapping transactions and so does not wait for them. In a call with several messages it counts only
	// when all of them are Unordered.
	Unordered bool
}

// Row is what QueryRow of a transaction returns.
type Row interface{ Scan(dest ...any) error }

// Tx is a transaction of pgx: pgx.Tx and *pgxpool.Tx have this shape; pools and connections have no Commit.
type Tx[R Row] interface {
	QueryRow(ctx context.Context, sql string, args ...any) R
	Commit(ctx context.Context) error
	Rollback(ctx context.Context) error
}

// SQLTx is a transaction of database/sql: *sql.Tx has this shape; *sql.DB and *sql.Conn do not.
type SQLTx interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	Commit() error
	Rollback() error
}

// Publish writes messages in the transaction tx, in one round trip, and returns their message ids in the same order. It blocks while another transaction
// publishes with one of the keys, until the deadline of ctx. Errors: ErrLength, ErrNullPayload, ErrHeaders, ErrTooLarge, ErrMessageIDUsed, ErrTooManyUnsent,
// *SchemaError, or what the driver gives; after any of them the transaction can only be rolled back. Nothing is published before tx commits.
//
// The schema is "outbox" unless ctx says otherwise (WithSchema), the trace context that of ctx (WithTraceContext).
func Publish[R Row](ctx context.Context, tx Tx[R], msgs ...Message) ([]string, error) {
	c, err := newCall(ctx, msgs, nativeArrays{})
	if err != nil || c == nil {
		return nil, err
	}
	return c.ids(tx.QueryRow(ctx, c.sql, c.args...))
}

// PublishSQL is Publish for a transaction of database/sql, with any driver for PostgreSQL.
func PublishSQL(ctx context.Context, tx SQLTx, msgs ...Message) ([]string, error) {
	c, err := newCall(ctx, msgs, textArrays{})
	if err != nil || c == nil {
		return nil, err
	}
	return c.ids(tx.QueryRowContext(ctx, c.sql, c.args...))
}
