// Package conn must not compile: a bare connection is no transaction.
package conn

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/outbox"
)

func publish(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	return outbox.Publish(ctx, conn, outbox.Message{Topic: "orders"})
}
