package relaytest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inMemory shows a Database to the suite.
type inMemory struct{ *Database }

func (db inMemory) Store() relay.Store { return db.Database.Store() }
func (db inMemory) Begin() Transaction { return db.Database.Begin() }
func (db inMemory) Promote()           { db.Database.Promote(0) }

func TestMemory(t *testing.T) {
	TestStore(t, func(*testing.T) Outbox { return inMemory{NewDatabase()} }, StoreTraits{Crashes: true, Promotes: true})
}
