package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/outbox"
)

func TestCheck(t *testing.T) {
	if outbox.SchemaVersion > migrations.Version {
		t.Fatalf("the library needs schema %d, the migrations end at %d", outbox.SchemaVersion, migrations.Version)
	}
	eachServer(t, func(t *testing.T, url string) {
		conn := connect(t, url)
		db, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		both := map[string]func() error{
			"pgx":          func() error { return outbox.Check(t.Context(), conn) },
			"database/sql": func() error { return outbox.CheckSQL(t.Context(), db) },
		}
		for _, step := range []struct{ sql, want string }{
			{"SELECT 1", ""},
			{"CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE RETURN 3",
				`outbox: schema "outbox" is version 3, this library needs 7; run: waybill migrate up`},
			{"DROP FUNCTION outbox.version()", `outbox: schema "outbox" is missing or older than version 7, which this library needs; run: waybill migrate up`},
			{"DROP SCHEMA outbox CASCADE", `outbox: schema "outbox" is missing or older than version 7, which this library needs; run: waybill migrate up`},
		} {
			if _, err := conn.Exec(t.Context(), step.sql); err != nil {
				t.Fatal(err)
			}
			for name, check := range both {
				err := check()
				var schema *outbox.SchemaError
				if step.want == "" && err != nil || step.want != "" && (!errors.As(err, &schema) || err.Error() != step.want) {
					t.Errorf("%s after %s: error %v, want %q", name, step.sql, err, step.want)
				}
			}
		}
	})
}

// A call of a function that the schema does not have says the same as Check, without a question to the database before every call.
func TestPublishOnAnOlderSchema(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		if _, err := migrations.Down(context.Background(), url, migrations.Options{}, 1); err != nil {
			t.Fatal(err)
		}
		eachDriver(t, url, func(t *testing.T, p publisher) {
			_, err := p.publish(t.Context(), outbox.Message{Topic: "t", Payload: []byte("x")})
			var schema *outbox.SchemaError
			if !errors.As(err, &schema) {
				t.Fatalf("error %v, want a SchemaError", err)
			}
		})
	})
}

func TestPublishWithoutTheRight(t *testing.T) {
	eachServer(t, func(t *testing.T, url string) {
		conn := connect(t, url)
		if _, err := conn.Exec(t.Context(), "SET ROLE outbox_viewer"); err != nil {
			t.Fatal(err)
		}
		_, err := outbox.Publish(t.Context(), begin(t, conn), outbox.Message{Topic: "t", Payload: []byte("x")})
		const want = "outbox: this login may not publish; run: GRANT outbox_producer TO it: "
		if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
			t.Fatalf("error %v", err)
		}
	})
}
