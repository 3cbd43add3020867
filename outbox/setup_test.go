package outbox_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
)

func TestMain(m *testing.M) { testservices.Main(m) }

// eachServer runs the test on a fresh outbox of the oldest and of the newest supported PostgreSQL.
func eachServer(t *testing.T, test func(t *testing.T, url string)) {
	for name, major := range map[string]int{"PostgreSQL 15": 15, "PostgreSQL 18": 18} {
		t.Run(name, func(t *testing.T) {
			pg := testservices.Postgres(t, major)
			if _, err := migrations.Up(t.Context(), pg.URL, migrations.Options{}); err != nil {
				t.Fatal(err)
			}
			test(t, pg.URL)
		})
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func begin(t *testing.T, conn *pgx.Conn) pgx.Tx {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	return tx
}

func beginSQL(t *testing.T, url string) *sql.Tx {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	return tx
}
