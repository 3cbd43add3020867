package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// Pinned returns which cluster a destination's name stands for, as PinDestination remembered it. relay.ErrNotFound: it was never used here.
func (i *Inspector) Pinned(ctx context.Context, destination string) (kind, clusterID string, err error) {
	err = i.db.QueryRow(ctx, i.sql(`SELECT kind, cluster_id FROM outbox.destination WHERE name = $1`), destination).Scan(&kind, &clusterID)
	if errors.Is(err, pgx.ErrNoRows) {
		err = relay.ErrNotFound
	}
	return kind, clusterID, i.failed("destination", err)
}

// Adopt makes a destination's name stand for that cluster from now on, and returns the row of the activity log. A relay that refuses the destination tries
// it again within 30 s. relay.ErrNotFound: it was never used here.
func (o *Operator) Adopt(ctx context.Context, destination, clusterID string, act relay.Act) (activity int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	var row *int64
	err = o.db(ctx).QueryRow(ctx, o.sql(`SELECT outbox.adopt($1, $2, $3, $4, $5)`), destination, clusterID, act.Actor, act.Reason, act.Via).Scan(&row)
	switch {
	case inTheWay(err):
		return 0, relay.ErrBusy
	case err != nil:
		return 0, personError("adopt", o.schema, "operator", err)
	case row == nil:
		return 0, relay.ErrNotFound
	}
	return *row, nil
}
