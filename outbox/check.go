package outbox

import (
	"context"
	"database/sql"
	"fmt"
)

// SchemaVersion is the lowest version of the schema that this library works with; newer ones work too.
const SchemaVersion = 7

// Check says whether the schema in this database is new enough for this library: call it once at start. db is a pool, a connection or a transaction of pgx.
// *SchemaError: it is not, in a sentence that says what to run.
func Check[R Row](ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) R
}) error {
	schema, err := schemaOf(ctx)
	if err != nil {
		return err
	}
	return check(schema, db.QueryRow(ctx, versionSQL(schema)))
}

// CheckSQL is Check for *sql.DB, *sql.Conn or *sql.Tx.
func CheckSQL(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) error {
	schema, err := schemaOf(ctx)
	if err != nil {
		return err
	}
	return check(schema, db.QueryRowContext(ctx, versionSQL(schema)))
}

func versionSQL(schema string) string { return "SELECT " + schema + ".version()" }

func check(schema string, row Row) error {
	var found int
	if err := row.Scan(&found); err != nil {
		switch sqlState(err) {
		case "42883", "3F000":
			return &SchemaError{Schema: schema, err: err}
		default:
			return fmt.Errorf("outbox: check the schema: %w", err)
		}
	}
	if found < SchemaVersion {
		return &SchemaError{Schema: schema, Found: found}
	}
	return nil
}
