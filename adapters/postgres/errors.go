package postgres

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybillmq/waybill/relay"
)

// SQLSTATEs that mean something here (PostgreSQL manual, appendix A). Errors are told apart by code only: texts are translated.
const (
	stateProtocol        = "08P01" // a pooler's answer to a setting that comes with a connection
	stateReadOnly        = "25006" // read-only transaction: a standby, or default_transaction_read_only
	stateNotInRecovery   = "55000" // here() on a standby: WAL file names cannot be computed during recovery
	stateCanceled        = "57014"
	stateLockWait        = "55P03" // lock_timeout
	stateSerialization   = "40001"
	stateDeadlock        = "40P01"
	stateNoStatement     = "26000" // prepared statement is not there: a pooler changed the server connection
	stateTwiceStatement  = "42P05" // prepared statement is there already: the same
	stateUnique          = "23505"
	stateNoTable         = "42P01"
	stateNoSchema        = "3F000"
	stateNoFunction      = "42883"
	stateDenied          = "42501"
	stateBadPassword     = "28P01"
	stateBadLogin        = "28000"
	stateNoDatabase      = "3D000"
	stateDiskFull        = "53100"
	stateTooManySessions = "53300"
	stateDamagedPage     = "XX001"
	stateDamagedIndex    = "XX002"
)

// oneHead is the unique index that proves that a key has one retrying head.
const oneHead = "message_held_head"

var hints = map[string]string{
	stateReadOnly:        "the database does not take writes (standby or read-only); nothing is published until it does",
	stateCanceled:        "the statement took longer than its limit",
	stateLockWait:        "somebody holds a lock that is needed; it is tried again",
	stateNoStatement:     "a transaction pooler stands in between: raise max_prepared_statements there (PgBouncer 1.21 or later) or connect directly",
	stateTwiceStatement:  "a transaction pooler stands in between: raise max_prepared_statements there (PgBouncer 1.21 or later) or connect directly",
	stateNoTable:         "the schema is missing or older than this program; run: waybill migrate up",
	stateNoSchema:        "the schema is missing; run: waybill migrate up",
	stateNoFunction:      "the schema is missing or older than this program; run: waybill migrate up",
	stateDenied:          "the login lacks a right that role outbox_relay has; grant it that role",
	stateBadPassword:     "the login or its password is wrong; correct database.url",
	stateBadLogin:        "the login is refused; correct database.url or the server's pg_hba.conf",
	stateNoDatabase:      "the database does not exist; correct database.url",
	stateDiskFull:        "the disk of the database is full; nothing is published until there is room",
	stateDamagedPage:     "a page of a table is damaged; nothing is passed over. Do not set zero_damaged_pages, which loses its rows: restore them from a standby or a backup",
	stateDamagedIndex:    "the index that it names is damaged: rebuild it with REINDEX INDEX, then look for what damaged it (disk, memory, a copy of a running server); no row is lost by it, and nothing is passed over meanwhile",
	stateTooManySessions: "the server has no free connection; raise max_connections or the login's CONNECTION LIMIT",
}

// errStandby says that a connection led to a server in recovery.
var errStandby = errors.New("the server is a standby")

// sqlState returns the SQLSTATE of err, empty when the server did not speak.
func sqlState(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}

// explain says which operation failed and what to do. Sentinels of relay pass unchanged, so that callers may compare.
func explain(op string, err error) error {
	var refused *relay.RefusedError
	var config *relay.ConfigError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, relay.ErrFenced), errors.Is(err, relay.ErrReborn), errors.Is(err, relay.ErrMoved), errors.Is(err, relay.ErrOwned),
		errors.Is(err, relay.ErrClosed), errors.As(err, &refused), errors.As(err, &config):
		return err
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == stateUnique && pe.ConstraintName == oneHead {
		return &relay.RefusedError{Text: "postgres: " + op + ": two retrying messages of one key: the invariant of " + oneHead +
			" is broken. Nothing was written. Stop this relay and report it with the activity and attempts of that key"}
	}
	if hint := hints[sqlState(err)]; hint != "" {
		return fmt.Errorf("postgres: %s: %w: %s", op, err, hint)
	}
	return fmt.Errorf("postgres: %s: %w", op, err)
}

// broken says that the connection is over with this error: the server ends it, for whatever reason, or it is no longer the one that knows our statements.
func broken(err error) bool {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return false
	}
	return pe.SeverityUnlocalized == "FATAL" || pe.SeverityUnlocalized == "PANIC" || pe.Code == stateNoStatement || pe.Code == stateTwiceStatement
}
