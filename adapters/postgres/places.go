package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

const sqlPlaces = `SELECT r.destination, r.lane, coalesce(r.lane_offset, -1), r.acked_at, r.epoch, coalesce(r.detail, '')
FROM outbox.message_safe m CROSS JOIN LATERAL outbox.receipts_of(m.id) r WHERE m.id = $1 AND m.message_id = $2`

// Places returns where a message was sent to, by its receipts, oldest first: for a broker that asks what is to become of a copy that it has. It is empty when the
// message has none, and when the outbox does not know it by this id and message id together: a broker may ask for an outbox that was made anew. It may be
// called by any process, with a lease or without.
func (s *Store) Places(ctx context.Context, id relay.ID, messageID string) (places []relay.Place, err error) {
	err = s.keeper.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, s.sql(sqlPlaces), id, messageID)
		if err == nil {
			places, err = pgx.CollectRows(rows, scanPlace)
		}
		return err
	})
	if err != nil {
		return nil, explain("ask for the receipts of a message", err)
	}
	return places, nil
}

// scanPlace reads a row of outbox.receipts_of, with -1 for no offset.
func scanPlace(r pgx.CollectableRow) (p relay.Place, err error) {
	err = r.Scan(&p.Destination, &p.Lane, &p.Offset, opt(&p.AckedAt), &p.Epoch, &p.Detail)
	p.HasOffset = p.Offset >= 0
	return p, err
}
