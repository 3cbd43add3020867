package app

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
)

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

// C12, F1, R3, R8, Z23: the database fails over to its synchronous standby under a running owner: the owner takes a new epoch there, message ids go on in a
// new generation, and nothing is lost. What was settled in the last moments may be sent again.
func TestDatabaseIsPromotedUnderARunningOwner_C12_F1_R8(t *testing.T) {
	t.Parallel()
	primary := testservices.PostgresServer(t, 18)
	at := newDatabase(t, primary)
	standby := primary.Standby(t, testservices.Sync)
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = fmt.Sprintf("127.0.0.1:%d,127.0.0.1:%d", primary.Port(), standby.Port())
	q := u.Query()
	q.Set("target_session_attrs", "read-write")
	u.RawQuery = q.Encode()
	r := newRig(t, u.String(), testservices.Kafka(t))
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
	eventually(t, "the outbox has a new generation", func() bool {
		n, err := tryAsk[int](r, `SELECT count(*) FROM outbox.generations`)
		return err == nil && n == 2
	})
	above := r.newest()
	eventually(t, "it is sent again", func() bool { return r.sentOf(topic, above) > 300 })
	l.stop()
	r.drained()
	const settledInTheLastMoments = 600 // 0.6 s at most 400 messages a second, and what was in flight
	r.verdict(settledInTheLastMoments)
}
