package migrations

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrNothingToAdopt means that the outbox was written on this very server and database.
var ErrNothingToAdopt = errors.New("the outbox was written on this server and in this database: there is nothing to adopt, and nothing was changed")

// Adoption says what a database is that is not the one on which its outbox was written.
type Adoption struct {
	Copied  bool   // beside the original; else moved: with everything that the original wrote, which is gone
	Discard bool   // what is not sent yet
	Actor   string // required
	Reason  string // required; for the activity log
}

// Adopted is what became of it.
type Adopted struct {
	Activity  int64  // row of the activity log
	OutboxID  string // prefix of the message ids …
	FromID    int64  // … from this id on
	Discarded int64
}

// Adopt makes a server or database the home of an outbox that was written elsewhere, so that relays own it again. The login is as for Up. No relay may work
// the original of a moved outbox any more.
func Adopt(ctx context.Context, url string, o Options, a Adoption) (did Adopted, err error) {
	if err := o.Validate(); err != nil {
		return did, err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return did, fmt.Errorf("migrations: connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if !o.SingleRole {
		if _, err := conn.Exec(ctx, "SET ROLE "+o.schema()+"_owner"); err != nil {
			return did, wrap(err, o)
		}
	}
	err = conn.QueryRow(ctx, "SELECT activity_id, outbox_id::text, from_id, discarded FROM "+o.schema()+".adopt_database($1, $2, $3, $4)", a.Copied, a.Discard, a.Actor, a.Reason).
		Scan(&did.Activity, &did.OutboxID, &did.FromID, &did.Discarded)
	if code(err) == "55000" {
		return did, ErrNothingToAdopt
	}
	return did, wrap(err, o)
}
