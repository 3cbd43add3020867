package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/waybillmq/waybill/relay"
)

// here is the server history that a connection leads to, as outbox.here() tells it.
type here struct {
	system   int64  // of the cluster's files; a copy of them keeps it
	timeline int32  // grows with each promotion and each point-in-time restore
	database uint32 // oid
}

// session is one connection for one kind of work. It is made when it is first used, made again after it broke, and each time compared with the server on
// which the lease was granted.
type session struct {
	store  *Store
	role   string
	epoch  relay.Epoch
	own    *ownership // compared with; nil: the caller compares by itself
	turn   chan struct{}
	conn   *pgx.Conn // guarded by turn
	made   int       // connections made so far, guarded by turn
	closed bool      // guarded by turn

	mu     sync.Mutex // the notice arrives while a statement of ours is read
	warned *pgconn.Notice
}

func (s *Store) newSession(role string, epoch relay.Epoch) *session {
	return &session{store: s, role: role, epoch: epoch, turn: make(chan struct{}, 1)}
}

// repeat says whether work may be done a second time after its connection broke with the answer unknown.
type repeat bool

const (
	again repeat = true
	once  repeat = false
)

// errUnconfirmed is a COMMIT that came with a WARNING: it is on this server's disk, and the synchronous standby has not confirmed it.
var errUnconfirmed = errors.New("the commit was not confirmed by the synchronous standby")

// use runs work on the connection, alone. It blocks at most until ctx ends; work gets a deadline a bit above the server's own statement timeout. A server
// that restarted breaks every old connection once: then idempotent work is done again, over a new one.
func (s *session) use(ctx context.Context, r repeat, work func(ctx context.Context, c *pgx.Conn) error) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	old := s.conn != nil
	err := s.attempt(ctx, work)
	if err == nil || isVerdict(err) || ctx.Err() != nil {
		return err
	}
	switch state := sqlState(err); {
	case state == stateSerialization, state == stateDeadlock: // undone by the server
	case s.conn != nil, !old: // an answer, or a fresh connection that failed: the caller knows better when to try again
		return err
	case r == once && !pgconn.SafeToRetry(err):
		return err
	}
	return s.attempt(ctx, work)
}

// isVerdict says that err is an answer, not a failure.
func isVerdict(err error) bool {
	var refused *relay.RefusedError
	var config *relay.ConfigError
	return errors.Is(err, relay.ErrFenced) || errors.Is(err, relay.ErrReborn) || errors.Is(err, relay.ErrMoved) || errors.Is(err, relay.ErrOwned) ||
		errors.Is(err, relay.ErrClosed) || errors.Is(err, errUnconfirmed) || errors.Is(err, errLocal) ||
		errors.As(err, &refused) || errors.As(err, &config)
}

// errLocal marks a mistake on this side that another try would repeat.
var errLocal = errors.New("wrong use")

func (s *session) attempt(ctx context.Context, work func(ctx context.Context, c *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit()+time.Second)
	defer cancel()
	if s.closed {
		return relay.ErrClosed
	}
	if s.conn == nil || s.conn.IsClosed() {
		if err := s.connect(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.warned = nil
	s.mu.Unlock()
	err := work(ctx, s.conn)
	if s.conn.IsClosed() {
		s.conn = nil
	} else if broken(err) {
		s.drop()
	}
	if w := s.warning(); err == nil && w != nil && (s.role == "lease" || s.role == "claimer") {
		return fmt.Errorf("%w: %s", errUnconfirmed, w.Message)
	}
	return err
}

func (s *session) limit() time.Duration {
	switch s.role {
	case "lease":
		return min(s.store.cfg.StatementTimeout, 2*time.Second)
	case "claimer":
		return min(s.store.cfg.StatementTimeout, 5*time.Second)
	case "housekeeper":
		return time.Minute
	}
	return s.store.cfg.StatementTimeout
}

func (s *session) warning() *pgconn.Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.warned
}

func (s *session) connect(ctx context.Context) error {
	pc, err := s.store.cfg.ConnConfig(s.role)
	if err != nil {
		return err
	}
	pc.RuntimeParams["application_name"] = fmt.Sprintf("waybill/%d/%s", s.epoch, s.role)
	pc.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			s.mu.Lock()
			s.warned = n
			s.mu.Unlock()
		}
	}
	if len(pc.Fallbacks) > 0 { // several hosts: take the one that is not a standby
		pc.ValidateConnect = refuseStandby
	}
	if s.role == "lease" || s.role == "claimer" {
		// statement_timeout does not end the wait for a synchronous standby at COMMIT; a cancel request does, with a WARNING.
		pc.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 2 * time.Second}
		}
	}
	conn, err := connect(ctx, pc)
	if err != nil {
		if errors.Is(err, errStandby) && s.own != nil {
			s.own.moved.set()
			return relay.ErrMoved
		}
		return err
	}
	if s.own != nil {
		if err := s.compare(ctx, conn); err != nil {
			closeConn(conn)
			return err
		}
	}
	s.conn = conn
	s.made++
	return nil
}

// compare ends the lease session when the connection leads to another server history than the one that granted the lease.
func (s *session) compare(ctx context.Context, conn *pgx.Conn) error {
	h, err := s.store.readHere(ctx, conn)
	moved := errors.Is(err, errStandby) || err == nil && h != s.own.here
	if err == nil && !moved {
		moved, err = s.store.wentBack(ctx, conn, s.own)
	}
	if moved {
		s.own.moved.set()
		return relay.ErrMoved
	}
	return err
}

// readHere returns the server history behind conn, and errStandby during recovery.
func (s *Store) readHere(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (here, error) {
	var h here
	var standby bool
	if err := q.QueryRow(ctx, `SELECT pg_catalog.pg_is_in_recovery()`).Scan(&standby); err != nil {
		return h, err
	}
	if standby {
		return h, errStandby
	}
	err := q.QueryRow(ctx, s.sql(`SELECT system_identifier, timeline, database_oid FROM outbox.here()`)).Scan(&h.system, &h.timeline, &h.database)
	return h, err
}

func refuseStandby(ctx context.Context, c *pgconn.PgConn) error {
	r := c.ExecParams(ctx, `SELECT pg_catalog.pg_is_in_recovery()`, nil, nil, nil, nil).Read()
	if r.Err != nil {
		return r.Err
	}
	if len(r.Rows) == 1 && string(r.Rows[0][0]) == "t" {
		return errStandby
	}
	return nil
}

func (s *session) drop() {
	if s.conn != nil {
		closeConn(s.conn)
		s.conn = nil
	}
}

// closeConn says goodbye without waiting long for a server that may be gone.
func closeConn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // the connection is given up either way
}

// close waits for the work in progress, which its own deadline bounds, and ends the connection for good.
func (s *session) close() {
	s.turn <- struct{}{}
	s.closed = true
	s.drop()
	<-s.turn
}
