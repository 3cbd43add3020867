package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/relay"
)

// Revealer gives what messages carry by the function of the schema that writes down who asked. It implements relay.Revealer. Safe for concurrent use.
type Revealer struct {
	pool   *pgxpool.Pool
	sql    func(string) string
	schema string
}

const (
	revealLimit       = 10 * time.Second
	revealConnections = 1 // one payload after the other: none is needed in a hurry, and none may slow delivery
)

// OpenRevealer makes the connection when it is first needed. Of cfg it uses URL, Schema and ConnectTimeout. The login needs what role outbox_payload may; a login that is a
// member without inheriting takes the role.
func OpenRevealer(cfg Config) (*Revealer, error) {
	p, err := peoplePool(cfg, "revealer", "payload", revealConnections, map[string]string{
		"statement_timeout": "5000", "lock_timeout": "2000", "idle_in_transaction_session_timeout": "5000", "synchronous_commit": "on"})
	if err != nil {
		return nil, err
	}
	return &Revealer{pool: p.pool, sql: p.sql, schema: p.schema}, nil
}

// Close ends the connection after what runs has ended.
func (r *Revealer) Close() { r.pool.Close() }

// Reveal implements relay.Revealer.
func (r *Revealer) Reveal(ctx context.Context, id relay.ID, act relay.Act) (relay.Revealed, error) {
	ctx, cancel := context.WithTimeout(ctx, revealLimit)
	defer cancel()
	var got relay.Revealed
	missing := false // its row says so too, and is kept
	err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) (err error) {
		got, err = r.ask(ctx, tx, id, act)
		if missing = errors.Is(err, pgx.ErrNoRows); missing {
			return nil
		}
		return err
	})
	switch { // nothing is returned before the commit: an answer whose row was lost would be seen by nobody's name
	case err != nil:
		return relay.Revealed{}, personError("reveal", r.schema, "payload", err)
	case missing:
		return relay.Revealed{}, relay.ErrNotFound
	}
	return got, nil
}

func (r *Revealer) ask(ctx context.Context, tx pgx.Tx, id relay.ID, act relay.Act) (got relay.Revealed, err error) {
	var contentType *string
	var headers []byte
	var size *int
	err = tx.QueryRow(ctx, r.sql(`SELECT activity_id, id, topic, content_type, headers, payload_bytes, payload FROM outbox.reveal(ARRAY[$1::bigint], $2, $3, $4, $5, $6)`),
		id, act.Actor, null(act.Reason), act.Via, null(act.Address), relay.MaxReveal).Scan(&got.Activity, &got.ID, &got.Topic, &contentType, &headers, &size, &got.Payload)
	if err != nil {
		return relay.Revealed{}, err
	}
	if contentType != nil {
		got.ContentType = *contentType
	}
	if got.Absent = size == nil; !got.Absent {
		got.Size = *size
	}
	if headers != nil {
		if err = json.Unmarshal(headers, &got.Headers); err != nil {
			return relay.Revealed{}, fmt.Errorf("the headers are no flat object of texts") // not what is in them
		}
	}
	return got, nil
}

var _ relay.Revealer = (*Revealer)(nil)
