package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// Remember tells what a former process knew, before Acquire. Safe for concurrent use.
func (s *Store) Remember(k relay.Known) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = k
}

// Known returns what this process knows by now; zero before its first Acquire, unless it was told. Safe for concurrent use.
func (s *Store) Known() relay.Known {
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
	s.known = relay.Known{System: g.here.system, Outbox: newest.UUID, Epoch: g.lease.Epoch, Claimed: g.lease.Claimed}
}

// whyOlder says why a state of the database is older than what was known of it, empty = it is not; here.Epoch is the one that it has just granted.
func whyOlder(known, here relay.Known) string {
	if known.System != here.System || known.Outbox != here.Outbox || here.Claimed >= known.Claimed && here.Epoch > known.Epoch {
		return ""
	}
	return fmt.Sprintf("id %d was claimed under epoch %d, and this state knows ids up to %d: an older state of the database was restored in its place", known.Claimed, known.Epoch, here.Claimed)
}

// wentBack says that a connection of an ownership has met a state from before its own claims.
func (s *Store) wentBack(ctx context.Context, conn *pgx.Conn, own *ownership) (bool, error) {
	known := s.Known() // first: another connection may claim meanwhile
	if known.Epoch != own.epoch {
		return false, nil
	}
	var claimed relay.ID
	err := conn.QueryRow(ctx, s.sql(`SELECT last_value FROM outbox.claimed`)).Scan((*int64)(&claimed))
	return err == nil && claimed < known.Claimed, err
}
