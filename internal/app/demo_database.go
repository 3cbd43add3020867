package app

import (
	"context"
	"fmt"
	"time"

	"github.com/waybillmq/waybill/internal/embedded"
)

// databaseStop bounds an orderly end of the private PostgreSQL.
const databaseStop = 10 * time.Second

var errDatabaseFirst = notNow("the database is stopped: first waybill demo fix database")

// databaseDown says whether the private PostgreSQL has ended, by whatever cause.
func (f *faults) databaseDown() bool {
	if f.demo.server == nil {
		return false
	}
	select {
	case <-f.demo.server.Done():
		return true
	default:
		return false
	}
}

func (f *faults) breakDatabase(ctx context.Context, say sayer) error {
	switch {
	case f.demo.server == nil:
		return notNow("the database is the one that --database-url names: it is not the demonstration's to stop")
	case f.databaseDown():
		return notNow("the database is stopped already: waybill demo fix database starts it again")
	}
	if err := f.demo.stopDatabase(ctx); err != nil {
		return err
	}
	say("  ✓ the private PostgreSQL is stopped. Orders of the shop fail as a whole, order and message; what is committed stays, and nothing else is sent.")
	say("    see it on the dashboard: http://%s   put it right: waybill demo fix database", f.pages())
	return nil
}

// fixDatabase starts PostgreSQL again, and waits until the shop goes on and what is committed is sent.
func (f *faults) fixDatabase(ctx context.Context, say sayer) error {
	if !f.databaseDown() {
		return notNow("the database runs: waybill demo break database stops it")
	}
	if err := f.demo.restartDatabase(ctx); err != nil {
		return err
	}
	say("  ✓ the private PostgreSQL runs again")
	began, before := time.Now(), f.shop.committed.Load()
	err := await(ctx, mendLimit, func() (bool, error) { return f.shop.committed.Load() > before, nil })
	if err != nil {
		return fmt.Errorf("the shop does not go on: %w", err)
	}
	if f.broker.down() {
		say("  ✓ the shop goes on. The broker is stopped: waybill demo fix broker")
		return nil
	}
	last, err := f.shop.newestID(ctx)
	if err != nil {
		return err
	}
	if err := f.awaitSent(ctx, last); err != nil {
		return err
	}
	say("  ✓ the shop goes on, and everything that is committed is sent, %.1f s after it came back. The proof comes when the demonstration stops", time.Since(began).Seconds())
	return nil
}

// stopDatabase ends the private PostgreSQL in order, also when nobody waits for it any more.
func (d *demo) stopDatabase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), databaseStop)
	defer cancel()
	return d.server.Stop(ctx)
}

// restartDatabase starts it where it was, on the same port: everybody has its address.
func (d *demo) restartDatabase(ctx context.Context) error {
	if err := d.stopDatabase(ctx); err != nil { // one that ended by itself still has its folder
		return err
	}
	dir, err := d.place()
	if err != nil {
		return err
	}
	server, err := embedded.Start(ctx, embedded.Config{Bin: d.pgBin, Dir: dir, Port: d.server.Port()})
	if err == nil {
		d.server = server
	}
	return err
}
