package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// Remembered is what an owner knew of its outbox. A claim is on disk before it is answered, so a database that knows of less was put back to an older state: also
// when server and timeline are the same, as after the restore of a snapshot in its own place. Then ids are drawn again that belong to messages which were sent.
// The zero value is nothing.
type Remembered struct {
	System  int64  // system identifier of the server
	Outbox  string // uuid of the newest generation
	Epoch   relay.Epoch
	Claimed relay.ID // the highest
}

// Remember tells what a former process knew, before Acquire. Safe for concurrent use.
func (s *Store) Remember(r Remembered) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = r
}

// Claimed returns what this process knows by now; zero before its first Acquire, unless it was told. Safe for concurrent use.
func (s *Store) Claimed() Remembered {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// claimed notes a claim of an ownership that has answered.
func (s *Store) claimed(own *ownership, upTo relay.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owned == own {
		s.known.Claimed = max(s.known.Claimed, upTo)
	}
}

// acquired notes what an Acquire has found; less than was known counts, for the newest generation began there.
func (s *Store) acquired(g grant) {
	newest := g.lease.Generations[len(g.lease.Generations)-1]
	s.known = Remembered{System: g.here.system, Outbox: newest.UUID, Epoch: g.lease.Epoch, Claimed: g.lease.Claimed}
}

// behind says that a state of the database is older than what is remembered; epoch is the one that it has just granted.
func (r Remembered) behind(system int64, outbox string, epoch relay.Epoch, claimed relay.ID) bool {
	return r.System == system && r.Outbox == outbox && (claimed < r.Claimed || epoch <= r.Epoch)
}

func (r Remembered) why(claimed int64) string {
	return fmt.Sprintf("id %d was claimed under epoch %d, and this state knows ids up to %d: an older state of the database was restored in its place", r.Claimed, r.Epoch, claimed)
}

// wentBack says that a connection of an ownership has met a state from before its own claims.
func (s *Store) wentBack(ctx context.Context, conn *pgx.Conn, own *ownership) (bool, error) {
	known := s.Claimed() // first: another connection may claim meanwhile
	if known.Epoch != own.epoch {
		return false, nil
	}
	var claimed relay.ID
	err := conn.QueryRow(ctx, s.sql(`SELECT last_value FROM outbox.claimed`)).Scan((*int64)(&claimed))
	return err == nil && claimed < known.Claimed, err
}
