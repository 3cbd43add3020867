package app

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
)

// settledInTheLastMoments are 0.6 s at most 400 messages a second, and what was in flight: a crash of the database may take their settlement back.
const settledInTheLastMoments = 600

// newDatabase makes a database on a server of the test's own.
func newDatabase(t *testing.T, s *testservices.PGServer) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE orders"); err != nil {
		t.Fatal(err)
	}
	return s.URL("orders")
}

// A9, F1, F22, R12, R18, Z5, Z11: PostgreSQL is killed under writers that commit with synchronous_commit=off, again and again, and then stays away for a
// while; the relay lives through it. What a crash took back was never published, what it kept is sent once.
func TestDatabaseCrashesUnderAsyncCommits_A9_F1_R12_R18(t *testing.T) {
	t.Parallel()
	s := testservices.PostgresServer(t, 18, testservices.Setting("wal_writer_delay", "200ms"))
	r := newRig(t, newDatabase(t, s), testservices.Kafka(t))
	topic := r.topic("orders", 4, nil)
	r.start("a")
	l := r.write(250, 40, "SET synchronous_commit = off", topic)
	sends := func() {
		t.Helper()
		above := int64(-1)
		eventually(t, "it is sent", func() bool {
			if above < 0 {
				n, err := tryAsk[int64](r, `SELECT coalesce(max(id), 0) FROM outbox.message_log`)
				if err == nil {
					above = n
				}
				return false
			}
			return r.sentOf(topic, above) > 100
		})
	}
	for range 5 {
		sends()
		if err := s.Kill9(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	sends()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	lasts(t, 10*time.Second) // shorter than the lease
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	sends()
	l.stop()
	r.drained()
	res := r.verdict(0)
	if took := l.committed.Load() - int64(res.Written); took > 0 {
		t.Logf("crashes took back %d messages that writers had committed asynchronously", took)
	}
	if epoch := ask[int](r, `SELECT epoch FROM outbox.owner`); epoch != 1 {
		t.Errorf("epoch %d: the relay did not live through it as the owner", epoch)
	}
}

// promotable makes a database with a standby, and the address that finds whichever of the two takes writes.
func promotable(t *testing.T, mode testservices.StandbyMode) (primary, standby *testservices.PGServer, address string) {
	t.Helper()
	primary = testservices.PostgresServer(t, 18)
	u, err := url.Parse(newDatabase(t, primary))
	if err != nil {
		t.Fatal(err)
	}
	standby = primary.Standby(t, mode)
	u.Host = fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", primary.Port(), standby.Port())
	q := u.Query()
	q.Set("target_session_attrs", "read-write")
	u.RawQuery = q.Encode()
	return primary, standby, u.String()
}

// promoted waits until a relay has taken the outbox over on the promoted standby and sends from there.
func (r *rig) promoted(topic string) {
	r.t.Helper()
	eventually(r.t, "the outbox has a new generation", func() bool {
		n, err := tryAsk[int](r, `SELECT count(*) FROM outbox.generations`)
		return err == nil && n == 2
	})
	above := r.newest()
	eventually(r.t, "it is sent again", func() bool { return r.sentOf(topic, above) > 300 })
}

// C12, F1, R3, R8, Z23: the database fails over to its synchronous standby under a running owner: the owner takes a new epoch there, message ids go on in a
// new generation, and nothing is lost. What was settled in the last moments may be sent again.
func TestDatabaseIsPromotedUnderARunningOwner_C12_F1_R8(t *testing.T) {
	t.Parallel()
	primary, standby, address := promotable(t, testservices.Sync)
	r := newRig(t, address, testservices.Kafka(t))
	topic := r.topic("orders", 4, nil)
	r.start("a")
	l := r.write(150, 40, "", topic)
	eventually(t, "it is sent", func() bool { return r.sentOf(topic, 0) > 300 })
	if err := primary.Kill9(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	r.promoted(topic)
	l.stop()
	r.drained()
	r.verdict(settledInTheLastMoments)
}

// A11, C12, F1, R8, Z23, P5: the database fails over to an asynchronous standby that lacks the newest rows. Their messages were sent, and nothing else is wrong:
// the ids that the lost rows had are drawn again in a new generation, and no ack of the old rows counts for the new ones.
func TestAsynchronousStandbyIsPromotedUnderARunningOwner_A11_C12_F1_R8(t *testing.T) {
	t.Parallel()
	primary, standby, address := promotable(t, testservices.Async)
	r := newRig(t, address, testservices.Kafka(t))
	topic := r.topic("orders", 4, nil)
	r.start("a")
	l := r.write(150, 40, "", topic)
	eventually(t, "it is sent", func() bool { return r.sentOf(topic, 0) > 300 })
	behind, err := pgx.Connect(t.Context(), standby.URL("orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close(t.Context())
	for _, sql := range []string{"ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"} {
		if _, err := behind.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the standby receives nothing more", func() bool { return ask[int](r, `SELECT count(*) FROM pg_stat_replication`) == 0 })
	cut := r.newest()
	eventually(t, "what the standby lacks is sent", func() bool { return r.sentOf(topic, cut) > 200 })
	l.stop()
	eventually(t, "all is sent", func() bool { return r.waiting() == 0 })
	const messages = `SELECT array_agg(generation || '-' || id) FROM outbox.message_log, LATERAL (SELECT outbox_id AS generation FROM outbox.generations WHERE from_id <= id
		ORDER BY from_id DESC LIMIT 1) g`
	before := ask[[]string](r, messages)
	if err := primary.Kill9(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the promoted standby answers", func() bool {
		n, err := tryAsk[int64](r, `SELECT max(id) FROM outbox.message_log`)
		return err == nil && n > 0
	})
	l = r.write(150, 40, "", topic)
	r.promoted(topic)
	r.takenBack = map[string]bool{} // with those whose row is there and whose claim is not: they are sent again, under an id of the new generation
	for _, id := range before {
		r.takenBack[id] = true
	}
	for _, id := range ask[[]string](r, messages) {
		delete(r.takenBack, id)
	}
	if len(r.takenBack) < 200 {
		t.Fatalf("the fail-over took %d messages back: nothing is shown by that", len(r.takenBack))
	}
	l.stop()
	r.drained()
	t.Logf("%d messages were sent whose rows the fail-over took back", len(r.takenBack))
	if again := ask[int64](r, `SELECT count(*) FROM outbox.message_log WHERE id > $1`, cut); again < 200 {
		t.Errorf("%d ids were drawn again: nothing is shown by that", again)
	}
	r.verdict(settledInTheLastMoments)
}

// F17, R13: every row that the relay writes fails as on a full disk, and rows keep coming. The relay falls silent instead of sending the same again and again, and
// goes on by itself when there is room.
func TestFullDatabaseSilencesTheRelay_F17_R13(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 4, nil)
	r.exec(`CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$`)
	r.start("a")
	l := r.write(150, 40, "", topic)
	eventually(t, "it is sent", func() bool { return r.sentOf(topic, 0) > 300 })
	r.exec(`CREATE TRIGGER full_disk BEFORE UPDATE ON outbox.owner FOR EACH STATEMENT EXECUTE FUNCTION full_disk();
		CREATE TRIGGER full_disk BEFORE DELETE ON outbox.message_pending FOR EACH STATEMENT EXECUTE FUNCTION full_disk();
		CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON outbox.message_held FOR EACH STATEMENT EXECUTE FUNCTION full_disk()`)
	lasts(t, 20*time.Second) // longer than the lease, which cannot be renewed
	n, written := len(r.records(t.Context(), topic)), r.newest()
	eventually(t, "rows wait", func() bool { return r.newest() > written+500 })
	if again := len(r.records(t.Context(), topic)); again != n {
		t.Errorf("the relay cannot write, and sent %d messages", again-n)
	}
	r.exec(`DROP FUNCTION full_disk CASCADE`)
	r.drained()
	l.stop()
	r.drained()
	r.verdict(settledInTheLastMoments)
}

// A service that runs out of disk makes new transactions read only by default. The relay's sessions switch that off: it goes on sending, and the doctor says
// why applications write nothing.
func TestReadOnlyByDefaultStopsNoRelay_F17(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 1, nil)
	r.exec(`ALTER DATABASE ` + pgx.Identifier{ask[string](r, `SELECT current_database()`)}.Sanitize() + ` SET default_transaction_read_only = on`)
	r.start("a")
	r.publish(text(topic, "k")) // by a session from before
	r.drained()
	r.verdict(0)
}
