package checker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay/relaytest"
)

// The oracle is written in the transaction of the message. The row lock on oracle.key orders the transactions of a key beyond dispute. The trigger on
// receipts is the check of I10: while a settlement holds the owner row, its epoch is the newest there is.
const oracleSQL = `
CREATE SCHEMA oracle;
CREATE TABLE oracle.key (topic text COLLATE "C", key text COLLATE "C", n bigint NOT NULL, PRIMARY KEY (topic, key));
CREATE SEQUENCE oracle.loose INCREMENT 10000;
CREATE TABLE oracle.tx (token text COLLATE "C" PRIMARY KEY, topic text NOT NULL, key text NOT NULL, n bigint NOT NULL, sum bytea NOT NULL, unordered boolean NOT NULL);
CREATE TABLE oracle.fence (at timestamptz DEFAULT clock_timestamp(), epoch bigint, owner bigint, lane text);
CREATE FUNCTION oracle.check_fence() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE e bigint := (SELECT epoch FROM outbox.owner);
BEGIN
  IF NEW.epoch <> e THEN INSERT INTO oracle.fence (epoch, owner, lane) VALUES (NEW.epoch, e, NEW.lane); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER check_fence BEFORE INSERT ON outbox.receipts FOR EACH ROW EXECUTE FUNCTION oracle.check_fence();`

// next draws the place of n messages in the order of their key, and locks the key until the transaction ends. It returns the last of them. Messages without a
// key get numbers that are unique and order nothing.
func next(ctx context.Context, tx pgx.Tx, topic, key string, n int) (last int64, err error) {
	if key == "" {
		err = tx.QueryRow(ctx, `SELECT nextval('oracle.loose')`).Scan(&last)
		return last + int64(n), err
	}
	err = tx.QueryRow(ctx, `INSERT INTO oracle.key AS k (topic, key, n) VALUES ($1, $2, $3) ON CONFLICT (topic, key) DO UPDATE SET n = k.n + $3 RETURNING n`,
		topic, key, n).Scan(&last)
	return last, err
}

// sumOf digests what all copies of a message must share, as producer and reader both compute it.
func sumOf(topic, key, token string, payload []byte) (sum relaytest.Sum) {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(topic), []byte(key), []byte(token), payload} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	h.Sum(sum[:0])
	return sum
}
