// Package pool must not compile: a pool is no transaction.
package pool

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/outbox"
)

func publish(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	return outbox.Publish(ctx, pool, outbox.Message{Topic: "orders"})
}
