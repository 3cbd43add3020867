package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

const sqlArm = `SELECT setval('outbox.asleep', $1::bigint)`

const (
	listenPiece    = 30 * time.Second       // a silent connection is asked whether it lives
	listenPause    = 250 * time.Millisecond // between tries to connect, doubling …
	maxListenPause = 10 * time.Second       // … up to this: a missed wake-up costs one poll interval
)

// Wake implements relay.Waker. One goroutine listens on a connection of its own until ctx ends or the store is closed, and mends it; after every connect it
// wakes once, because what was sent in between is lost.
func (s *Store) Wake(ctx context.Context) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, relay.ErrClosed
	}
	woken := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	unlink := context.AfterFunc(s.live, cancel)
	s.wakers.Go(func() {
		defer cancel()
		defer unlink()
		s.listen(ctx, woken)
	})
	return woken, nil
}

func (s *Store) listen(ctx context.Context, woken chan<- struct{}) {
	pause := listenPause
	for ctx.Err() == nil {
		began := time.Now()
		s.hear(ctx, woken)
		if time.Since(began) > listenPiece {
			pause = listenPause
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxListenPause)
		case <-ctx.Done():
		}
	}
}

// hear listens on one connection until it breaks. Its errors are not told: the poll is the truth, and the other connections of the relay meet the same fault.
func (s *Store) hear(ctx context.Context, woken chan<- struct{}) {
	pc, err := s.cfg.ConnConfig("listener")
	if err != nil {
		return
	}
	pc.ValidateConnect = refuseStandby
	conn, err := connect(ctx, pc)
	if err != nil {
		return
	}
	defer closeConn(conn)
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{s.cfg.Schema}.Sanitize()); err != nil {
		return
	}
	for {
		select {
		case woken <- struct{}{}:
		default: // one slot: a wake-up waits there already
		}
		if !s.await(ctx, conn) {
			return
		}
	}
}

// await returns true when a notification came, and false when the connection is of no use any more.
func (s *Store) await(ctx context.Context, conn *pgx.Conn) bool {
	for {
		piece, cancel := context.WithTimeout(ctx, listenPiece)
		_, err := conn.WaitForNotification(piece)
		timedOut := errors.Is(piece.Err(), context.DeadlineExceeded)
		cancel()
		if err == nil {
			return true
		}
		if !timedOut || ctx.Err() != nil || conn.IsClosed() {
			return false
		}
		ping, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
		err = conn.Ping(ping)
		cancel()
		if err != nil {
			return false
		}
	}
}

// Arm implements relay.Waker: writers send a NOTIFY only while the owner sleeps, because it makes their commits wait for each other.
func (s *Store) Arm(ctx context.Context, asleep bool) error {
	s.mu.Lock()
	own := s.owned
	s.mu.Unlock()
	if own == nil {
		return relay.ErrFenced
	}
	flag := int64(0)
	if asleep {
		flag = 1
	}
	return explain("arm", own.read.session.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, s.sql(sqlArm), flag)
		return err
	}))
}
