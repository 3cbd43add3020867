package app

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/outbox"
)

// F14: the program is replaced before the schema. The new relay owns nothing, says what to run, and begins by itself once that is done; what was written
// meanwhile is sent. It waits out one look at the schema.
func TestProgramIsNewerThanTheSchema_F14(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 2, nil)
	if _, err := migrations.Down(t.Context(), r.url, migrations.Options{}, migrations.Version-1); err != nil {
		t.Fatal(err)
	}
	a := r.start("a")
	eventually(t, "the relay says what to run", func() bool { return strings.Contains(a.log.tail(), "run: waybill migrate up") })
	msgs := make([]outbox.Message, 50)
	for i := range msgs {
		msgs[i] = text(topic, "k")
	}
	r.publish(msgs...)
	if epoch := ask[int](r, `SELECT epoch FROM outbox.owner`); epoch != 0 {
		t.Errorf("the outbox was owned, epoch %d", epoch)
	}
	if _, err := migrations.Up(t.Context(), r.url, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	r.drained()
	r.verdict(0)
}

// tomorrow is a migration of a later version: it adds, and takes nothing away.
const tomorrow = `SET LOCAL ROLE outbox_owner; SET LOCAL lock_timeout = '1s';
	CREATE TABLE outbox.tomorrow (id bigint PRIMARY KEY);
	ALTER TABLE outbox.message_log ADD COLUMN tomorrow int;
	ALTER TABLE outbox.message_pending ADD COLUMN tomorrow int;
	ALTER TABLE outbox.message_held ADD COLUMN tomorrow text NOT NULL DEFAULT 'x';
	ALTER TABLE outbox.receipts ADD COLUMN tomorrow int;
	ALTER TABLE outbox.owner ADD COLUMN tomorrow int;
	ALTER TABLE outbox.alive ADD COLUMN tomorrow int;
	ALTER TABLE outbox.generations ADD COLUMN tomorrow int;
	ALTER TABLE outbox.activity ADD COLUMN tomorrow int;
	CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN `

// F14: the schema is migrated to the next version under a relay that works. It goes on, and so does one that starts on the newer schema: they take turns as during
// a rolling upgrade, without a loss, a repeat or a second owner.
func TestSchemaIsNewerThanTheProgram_F14(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 4, nil)
	l := r.write(150, 30, "", topic)
	a := r.start("a")
	sends := func(who string) {
		t.Helper()
		above := r.newest()
		eventually(t, who+" sends", func() bool { return r.sentOf(topic, above) > 100 })
	}
	sends("a")
	eventually(t, "it is migrated", func() bool { // again when it meets a lock, as `waybill migrate up` does
		_, err := r.pool.Exec(t.Context(), tomorrow+fmt.Sprint(migrations.Version+1))
		var pe *pgconn.PgError
		if err != nil && (!errors.As(err, &pe) || pe.Code != "55P03" && pe.Code != "40P01") {
			t.Fatal(err)
		}
		return err == nil
	})
	sends("a on the newer schema")
	r.start("b")
	eventually(t, "b stands by", func() bool {
		return ask[int](r, `SELECT count(*) FROM outbox.relay WHERE seen_at > now() - interval '10 s'`) == 2
	})
	began := time.Now()
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
	r.owned("b")
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the hand-over took %v", took)
	}
	sends("b")
	r.start("a")
	l.stop()
	r.drained()
	if epoch := ask[int](r, `SELECT epoch FROM outbox.owner`); epoch != 2 {
		t.Errorf("epoch %d, want 2: one clean hand-over", epoch)
	}
	r.verdict(0)
}
