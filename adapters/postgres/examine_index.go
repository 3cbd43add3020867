package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// IndexFacts say whether the indexes of the outbox know every row of their tables. An index that lacks rows and is otherwise well, such as one that was put back from
// another time, gives no error: what it lacks is not read.
type IndexFacts struct {
	Extension bool         // amcheck, which compares them, is installed in the database
	Schema    string       // where it is installed, quoted
	Usable    bool         // the login may use that schema
	Allowed   bool         // and call the function that compares
	Compared  int          // indexes that know every row
	Left      []string     // not compared: their table is larger than indexBytes, it is locked, or indexTime was over
	Damaged   []IndexFault // lack rows, or are damaged otherwise
}

// IndexFault is what the server says about one index. It names rows by their place, never by what they hold.
type IndexFault struct{ Index, Text string }

// A comparison reads the whole table, so it keeps to small ones and to a short time: the relay's own tables are small while messages flow.
const (
	indexBytes = 64 << 20
	indexTime  = time.Second
	indexLock  = 100 * time.Millisecond // somebody rebuilds it: not now
)

const (
	sqlAmcheck = `SELECT quote_ident(n.nspname), has_schema_privilege(n.oid, 'USAGE'), has_function_privilege(p.oid, 'EXECUTE') FROM pg_extension e
JOIN pg_namespace n ON n.oid = e.extnamespace JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'bt_index_check'
WHERE e.extname = 'amcheck' AND p.proargtypes = ARRAY['regclass'::regtype, 'boolean'::regtype]::oidvector`
	// The size is an estimate: asking the file takes a lock, and waits where the table is locked.
	sqlIndexes = `SELECT i.indexrelid::oid, c.relname::text, greatest(t.relpages, 0) * current_setting('block_size')::bigint FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
JOIN pg_class t ON t.oid = i.indrelid WHERE t.relnamespace = to_regnamespace($1) AND t.relkind = 'r' AND c.relkind = 'i' AND a.amname = 'btree' AND i.indisvalid AND i.indisready
ORDER BY t.relpages < 0, 3, 2`
)

// indexes runs as the login itself: the roles of the outbox have no right to the extension.
func (e *examiner) indexes(ctx context.Context) (f IndexFacts, err error) {
	err = e.conn.QueryRow(ctx, sqlAmcheck).Scan(&f.Schema, &f.Usable, &f.Allowed)
	if errors.Is(err, pgx.ErrNoRows) {
		return f, nil
	}
	if f.Extension = err == nil; err != nil || !f.Usable || !f.Allowed {
		return f, err
	}
	r, err := e.conn.Query(ctx, sqlIndexes, e.cfg.Schema)
	if err != nil {
		return f, err
	}
	type index struct {
		OID   uint32
		Name  string
		Bytes int64
	}
	all, err := pgx.CollectRows(r, pgx.RowToStructByPos[index])
	if err != nil {
		return f, err
	}
	for end := time.Now().Add(indexTime); len(all) > 0; all = all[1:] {
		i := all[0]
		if i.Bytes > indexBytes || time.Now().After(end) {
			f.Left = append(f.Left, i.Name)
			continue
		}
		err := e.compare(ctx, f.Schema, i.OID, time.Until(end))
		var said *pgconn.PgError
		switch state := sqlState(err); {
		case err == nil:
			f.Compared++
		case (state == stateDamagedIndex || state == stateDamagedPage) && errors.As(err, &said):
			f.Damaged = append(f.Damaged, IndexFault{i.Name, said.Message})
		case state == stateCanceled || state == stateLockWait:
			f.Left = append(f.Left, i.Name)
		case state == "XX000": // could not open relation: dropped meanwhile
			f.Left = append(f.Left, i.Name)
		default:
			return f, err
		}
	}
	return f, nil
}

// compare looks for every row of the table in its index. It locks neither against writers.
func (e *examiner) compare(ctx context.Context, schema string, index uint32, limit time.Duration) error {
	return pgx.BeginTxFunc(ctx, e.conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true)`, millis(limit), millis(indexLock)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT `+schema+`.bt_index_check($1::oid::regclass, true)`, index)
		return err
	})
}
