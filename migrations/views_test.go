package migrations

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// receipt writes a receipt of these ids as the relay does.
func receipt(t *testing.T, conn *pgx.Conn, seq int, firstOffset *int64, ids ...int64) {
	t.Helper()
	var encoded []byte
	before := int64(0)
	for _, id := range ids {
		encoded = binary.AppendUvarint(encoded, uint64(id-before))
		before = id
	}
	do(t, conn, `INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, first_offset, acked_at, ids, detail)
		VALUES ($1, $2, $3, 7, $4, 'kafka', '3', $5, 'epoch', $6, 'd')`, ids[len(ids)-1], ids[0], len(ids), seq, firstOffset, encoded)
}

func TestReceiptsOf(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		random := rand.New(rand.NewPCG(seed, 0))
		place := map[int64]int64{}
		offset, id := int64(1000), int64(1)
		for seq := range 40 {
			first, ids := offset, []int64{}
			span := id
			for len(ids) < 1+random.IntN(300) && id-span < 65000 {
				ids = append(ids, id)
				place[id] = offset
				offset++
				id += 1 + random.Int64N([]int64{1, 3, 300}[random.IntN(3)])
			}
			receipt(t, conn, seq, &first, ids...)
			offset += 50
		}
		for wanted, want := range place {
			if random.IntN(10) > 0 {
				continue
			}
			got := ask[string](t, conn, "SELECT string_agg(concat_ws(' ', destination, lane, lane_offset - $2, epoch, detail), ',') FROM outbox.receipts_of($1)", wanted, want)
			if got != "kafka 3 0 7 d" {
				t.Errorf("id %d: %s", wanted, got)
			}
		}
		for gap := int64(1); gap < id; gap += 1 + random.Int64N(500) {
			if _, ok := place[gap]; !ok && ask[int](t, conn, "SELECT count(*)::int FROM outbox.receipts_of($1)", gap) != 0 {
				t.Errorf("id %d was never sent and has a receipt", gap)
			}
		}
		receipt(t, conn, 100, nil, id+10)
		if ask[*int64](t, conn, "SELECT lane_offset FROM outbox.receipts_of($1)", id+10) != nil {
			t.Error("an offset where the broker gives none")
		}
		receipt(t, conn, 101, nil, 3_000_000_000, 3_000_000_001) // beyond 32 bits
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.receipts_of(3000000001)"); n != 1 {
			t.Errorf("%d receipts", n)
		}
		do(t, conn, "UPDATE outbox.receipts SET n = 3 WHERE seq = 101")
		if code, message := try(t.Context(), conn, "SELECT outbox.receipts_of(3000000001)"); code != "XX001" || !strings.Contains(message, "is damaged") {
			t.Errorf("a damaged receipt: %q %s", code, message)
		}
	})
}

func TestMessageStatus(t *testing.T) {
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		do(t, conn, `SELECT outbox.publish_bytes('t', 'secret', 'k', headers => '{"h": "secret"}') FROM generate_series(1, 7)`)
		do(t, conn, "SELECT outbox.publish('t', '{}', deliver_after => now() + interval '1 day', message_id => 'own')")
		do(t, conn, `DELETE FROM outbox.message_pending WHERE id BETWEEN 2 AND 7;
			INSERT INTO outbox.message_held (id, state, topic, key) VALUES (2, 'dead', 't', 'k'), (3, 'blocked', 't', 'k'), (4, 'scheduled', 't', 'k'), (5, 'retrying', 't', 'l');
			INSERT INTO outbox.message_discarded (id, activity_id, attempts, error) VALUES (6, 1, 3, 'e');
			INSERT INTO outbox.generations (from_id, outbox_id, system_identifier, timeline, database_oid, reason)
				VALUES (7, '00000000-0000-0000-0000-000000000007', 1, 2, 1, 'promoted')`)
		got := ask[string](t, conn, "SELECT string_agg(concat_ws(' ', id, state, detail), ', ' ORDER BY id) FROM outbox.message_status")
		if want := "1 pending, 2 dead, 3 pending blocked, 4 pending scheduled, 5 pending retrying, 6 discarded, 7 sent, 8 pending scheduled"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		prefix := ask[string](t, conn, "SELECT outbox_id::text FROM outbox.generations WHERE from_id = 0")
		for _, view := range []string{"message_status", "message_safe"} {
			got = ask[string](t, conn, "SELECT string_agg(message_id, ' ' ORDER BY id) FROM outbox."+view+" WHERE id IN (1, 7, 8)")
			if want := prefix + "-1 00000000-0000-0000-0000-000000000007-7 own"; got != want {
				t.Errorf("%s: message ids %s, want %s", view, got, want)
			}
			if row := ask[string](t, conn, "SELECT v::text FROM outbox."+view+" v WHERE id = 1"); strings.Contains(row, "secret") || !strings.Contains(row, "{h}") {
				t.Errorf("%s shows %s", view, row)
			}
		}
		if got := ask[string](t, conn, "SELECT concat_ws(' ', epoch, alive, released, last_id, claimed, asleep, ceiling) FROM outbox.overview"); got != "0 f t 8 0 0 9223372036854775807" {
			t.Errorf("overview %s", got)
		}
		if !ask[bool](t, conn, `SELECT (SELECT h FROM outbox.here() h) = (SELECT (g.system_identifier, g.timeline, g.database_oid) FROM outbox.generations g WHERE from_id = 0)`) {
			t.Error("here() is not the first generation")
		}
		if p := ask[string](t, conn, "SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'outbox'::regnamespace AND relkind = 'r' AND relpersistence <> 'p'"); p != "alive" {
			t.Errorf("unlogged tables: %s", p)
		}
	})
}
