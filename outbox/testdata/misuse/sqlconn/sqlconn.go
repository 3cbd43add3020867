// Package sqlconn must not compile: a *sql.Conn is no transaction.
package sqlconn

import (
	"context"
	"database/sql"

	"github.com/waybillmq/waybill/outbox"
)

func publish(ctx context.Context, conn *sql.Conn) ([]string, error) {
	return outbox.PublishSQL(ctx, conn, outbox.Message{Topic: "orders"})
}
