package migrations

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestAdopt(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		adopt := func(a Adoption) Adopted {
			t.Helper()
			a.Actor, a.Reason = "cli:ana@host", "upgrade"
			did, err := Adopt(t.Context(), url, Options{}, a)
			if err != nil {
				t.Fatal(err)
			}
			return did
		}
		refused := func() {
			t.Helper()
			if _, err := Adopt(t.Context(), url, Options{}, Adoption{Copied: true, Discard: true, Actor: "a", Reason: "r"}); !errors.Is(err, ErrNothingToAdopt) {
				t.Errorf("adopted where it is at home: %v", err)
			}
		}
		refused()
		do(t, conn, `SELECT outbox.publish('t', '{}', 'k') FROM generate_series(1, 5); DELETE FROM outbox.message_pending WHERE id = 5;
			INSERT INTO outbox.message_held (id, state, topic, key) VALUES (5, 'dead', 't', 'k')`)
		do(t, conn, "SELECT setval('outbox.claimed', 2); INSERT INTO outbox.relay (instance, started_at, version) VALUES ('there', now(), '1')")
		ids := func() string {
			return ask[string](t, conn, "SELECT string_agg(message_id, ' ' ORDER BY id) FROM outbox.message_safe WHERE id < 5")
		}
		before := ids()

		do(t, conn, "UPDATE outbox.generations SET system_identifier = 1; SELECT setval('outbox.message_id_seq', 1)") // pg_upgrade, logical replication
		did := adopt(Adoption{})
		if did.FromID != 0 || did.Discarded != 0 || ids() != before {
			t.Errorf("moved: %+v; message ids %s, before %s", did, ids(), before)
		}
		if last := ask[int64](t, conn, "SELECT last_value FROM outbox.message_id_seq"); last != 5 {
			t.Errorf("the sequence stands at %d below written ids", last)
		}
		if s := ask[string](t, conn, "SELECT concat_ws(' ', epoch, (SELECT count(*) FROM outbox.relay), (SELECT h = (SELECT (g.system_identifier, g.timeline, g.database_oid) FROM outbox.generations g) FROM outbox.here() h)) FROM outbox.owner"); s != "1000000 0 t" {
			t.Errorf("epoch, relays, here: %s", s)
		}
		refused()

		do(t, conn, "UPDATE outbox.generations SET database_oid = 1")
		if did = adopt(Adoption{Copied: true}); did.FromID != 3 || did.Discarded != 0 || ids() == before {
			t.Errorf("copied: %+v", did)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_pending"); n != 4 {
			t.Errorf("%d pending, want 4", n)
		}
		do(t, conn, "UPDATE outbox.generations SET database_oid = 1")
		again := adopt(Adoption{Copied: true, Discard: true})
		if again.FromID != 3 || again.OutboxID == did.OutboxID || again.Discarded != 5 {
			t.Errorf("copied again: %+v, before %+v", again, did)
		}
		if s := ask[string](t, conn, "SELECT string_agg(state, ' ' ORDER BY id) FROM outbox.message_status"); s != "discarded discarded discarded discarded discarded" {
			t.Errorf("states: %s", s)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.activity WHERE action = 'adopt' AND reason = 'upgrade'"); n != 3 {
			t.Errorf("%d rows of activity, want 3", n)
		}
	})
}

func TestAdoptDestination(t *testing.T) {
	eachOutbox(t, func(t *testing.T, _ string, conn *pgx.Conn) {
		do(t, conn, "INSERT INTO outbox.destination (name, kind, cluster_id) VALUES ('kafka-a', 'kafka', 'old')")
		if !ask[bool](t, conn, "SELECT outbox.adopt('other', 'new', 'ana', 'r') IS NULL") {
			t.Error("a name that was never used was adopted")
		}
		ask[int64](t, conn, "SELECT outbox.adopt('kafka-a', 'new', 'ana', 'a new cluster')")
		if s := ask[string](t, conn, "SELECT concat_ws(' ', d.cluster_id, d.adopted_at IS NOT NULL, a.action, a.target, a.before ->> 'cluster_id', a.reason) FROM outbox.destination d JOIN outbox.activity a ON a.id = d.activity_id"); s != "new t adopt destination kafka-a old a new cluster" {
			t.Error(s)
		}
		if code, _ := try(t.Context(), conn, "SELECT outbox.adopt('kafka-a', 'new', 'ana', ' ')"); code != "22023" {
			t.Errorf("without a reason: %q", code)
		}
	})
}
