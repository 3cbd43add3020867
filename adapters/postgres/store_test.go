package postgres_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

var (
	_ relay.Store      = (*postgres.Store)(nil)
	_ relay.Waker      = (*postgres.Store)(nil)
	_ relaytest.Outbox = (*database)(nil)
)

func TestStore(t *testing.T) {
	onEach(t, func(t *testing.T, major int) {
		relaytest.TestStore(t, func(t *testing.T) relaytest.Outbox {
			t.Parallel()
			switch {
			case strings.Contains(t.Name(), "promotion"):
				return newPromotable(t, major)
			case strings.Contains(t.Name(), "crash"):
				return newCrashable(t, major)
			}
			return newOutbox(t, major)
		}, relaytest.StoreTraits{Crashes: true, Promotes: true})
	})
}

// crashable is an outbox on a server of its own that can be killed.
type crashable struct {
	*database
	server *testservices.PGServer
}

func newCrashable(t *testing.T, major int) *crashable {
	t.Helper()
	server := testservices.PostgresServer(t, major)
	return &crashable{outboxAt(t, server.URL("postgres")), server}
}

// Crash kills the postmaster: what its WAL buffers held is gone.
func (c *crashable) Crash() {
	c.t.Helper()
	if err := c.server.Kill9(); err != nil {
		c.t.Fatalf("kill: %v", err)
	}
	if err := c.server.Start(); err != nil {
		c.t.Fatalf("start: %v", err)
	}
}

// promotable is an outbox on a primary with a synchronous standby. The relay is given both hosts.
type promotable struct {
	*database
	primary, standby *testservices.PGServer
}

func newPromotable(t *testing.T, major int) *promotable {
	t.Helper()
	primary := testservices.PostgresServer(t, major)
	standby := primary.Standby(t, testservices.Sync)
	d := outboxAt(t, primary.URL("postgres"))
	d.via = bothHosts(primary, standby)
	return &promotable{d, primary, standby}
}

// bothHosts names two servers in one URL. They share the password: one is a copy of the other.
func bothHosts(a, b *testservices.PGServer) string {
	url := a.URL("postgres")
	host := "127.0.0.1:" + strconv.Itoa(a.Port())
	return strings.Replace(url, host, host+",127.0.0.1:"+strconv.Itoa(b.Port()), 1)
}

func (p *promotable) Promote() {
	p.t.Helper()
	if err := p.primary.Kill9(); err != nil {
		p.t.Fatalf("kill: %v", err)
	}
	if err := p.standby.Promote(); err != nil {
		p.t.Fatalf("promote: %v", err)
	}
	p.database.url = p.standby.URL("postgres")
	p.database.conn = p.database.connect()
}
