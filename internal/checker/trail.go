package checker

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Trail is what nobody judges and whoever follows a flaw needs: which id a token has, and what happened when, as the outbox wrote it down.
type Trail struct {
	IDs      map[string]int64  `json:"ids"`      // by token
	Receipts []json.RawMessage `json:"receipts"` // by epoch and number
	Attempts []json.RawMessage `json:"attempts"` // by time
	Acts     []json.RawMessage `json:"acts"`     // by time
}

func readTrail(ctx context.Context, conn *pgx.Conn, e *Evidence) error {
	e.Trail.IDs = map[string]int64{}
	err := scan(ctx, conn, `SELECT id, headers->>'token' FROM outbox.message_log`, func(r pgx.Rows) error {
		var id int64
		var token string
		err := r.Scan(&id, &token)
		e.Trail.IDs[token] = id
		return err
	})
	if err != nil {
		return err
	}
	for _, list := range []struct {
		rows *[]json.RawMessage
		sql  string
	}{
		{&e.Trail.Receipts, `SELECT to_jsonb(r) - 'ids' FROM outbox.receipts r ORDER BY epoch, seq`},
		{&e.Trail.Attempts, `SELECT to_jsonb(a) FROM outbox.attempt a ORDER BY at, id, n`},
		{&e.Trail.Acts, `SELECT to_jsonb(a) - 'hash' - 'prev_hash' FROM outbox.activity a ORDER BY id`},
	} {
		rows, err := conn.Query(ctx, list.sql)
		if err == nil {
			*list.rows, err = pgx.CollectRows(rows, pgx.RowTo[json.RawMessage])
		}
		if err != nil {
			return fmt.Errorf("the trail: %w", err)
		}
	}
	return nil
}
