// Package use must compile: the transactions that may publish.
package use

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/outbox"
)

func publish(ctx context.Context, a pgx.Tx, b *pgxpool.Tx, c *sql.Tx) {
	outbox.Publish(ctx, a, outbox.Message{Topic: "orders"})
	outbox.Publish(ctx, b, outbox.Message{Topic: "orders"})
	outbox.PublishSQL(ctx, c, outbox.Message{Topic: "orders"})
}

func check(ctx context.Context, a pgx.Tx, b *pgx.Conn, c *pgxpool.Pool, d *sql.DB, e *sql.Conn) {
	outbox.Check(ctx, a)
	outbox.Check(ctx, b)
	outbox.Check(ctx, c)
	outbox.CheckSQL(ctx, d)
	outbox.CheckSQL(ctx, e)
}
