package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/outbox"
)

// database starts a PostgreSQL with an outbox and a table of orders for an example.
func database(ctx context.Context) (url string, stop func()) {
	server, err := testservices.NewPostgres(ctx, 15)
	if err != nil {
		log.Fatal(err)
	}
	url = server.URL("postgres")
	if _, err := migrations.Up(ctx, url, migrations.Options{}); err != nil {
		log.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE orders (id text PRIMARY KEY, state text NOT NULL); INSERT INTO orders VALUES ('o-1', 'open')"); err != nil {
		log.Fatal(err)
	}
	return url, func() { server.Close() }
}

// An order is paid and the message about it is written in one transaction: business rows first, messages last.
func ExamplePublish() {
	ctx := context.Background()
	url, stop := database(ctx)
	defer stop()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE orders SET state = 'paid' WHERE id = $1", "o-1"); err != nil {
			return err
		}
		_, err := outbox.Publish(ctx, tx, outbox.Message{
			Topic: "order.paid", Key: "o-1", Payload: []byte(`{"order":"o-1"}`), ContentType: "application/json", MessageID: "o-1/paid",
		})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}

	var topic, state string
	if err := conn.QueryRow(ctx, "SELECT topic, state FROM outbox.message_status WHERE message_id = 'o-1/paid'").Scan(&topic, &state); err != nil {
		log.Fatal(err)
	}
	fmt.Println(topic, state)
	// Output: order.paid pending
}

// Several messages go in one round trip and lock their keys in one fixed order.
func ExamplePublishSQL() {
	ctx := context.Background()
	url, stop := database(ctx)
	defer stop()
	db, err := sql.Open("pgx", url)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Rollback()
	ids, err := outbox.PublishSQL(ctx, tx,
		outbox.Message{Topic: "order.paid", Key: "o-1", Payload: []byte(`{}`), MessageID: "o-1/paid"},
		outbox.Message{Topic: "order.remind", Key: "o-1", Payload: []byte(`{}`), MessageID: "o-1/remind", DeliverAfter: time.Now().Add(24 * time.Hour)},
		outbox.Message{Topic: "cart", Key: "c-9", Tombstone: true, MessageID: "c-9/gone"},
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ids)
	// Output: [o-1/paid o-1/remind c-9/gone]
}

// A message that no broker takes is refused while the code can still act.
func ExamplePublish_tooLarge() {
	ctx := context.Background()
	url, stop := database(ctx)
	defer stop()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close(ctx)

	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := outbox.Publish(ctx, tx, outbox.Message{Topic: "report", Payload: make([]byte, 2_000_000)})
		return err
	})
	fmt.Println(errors.Is(err, outbox.ErrTooLarge))
	// Output: true
}
