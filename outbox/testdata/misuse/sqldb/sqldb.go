// Package sqldb must not compile: a *sql.DB is no transaction.
package sqldb

import (
	"context"
	"database/sql"

	"github.com/waybillmq/waybill/outbox"
)

func publish(ctx context.Context, db *sql.DB) ([]string, error) {
	return outbox.PublishSQL(ctx, db, outbox.Message{Topic: "orders"})
}
