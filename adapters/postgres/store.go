package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

// Config says which outbox a Store is.
type Config struct {
	// URL is the connection string of the database that the producers write to. It must reach the primary; several hosts may be named, the one that is
	// not a standby is taken.
	URL string

	// DirectURL reaches the same server without a transaction pooler, for LISTEN and the lease. Default: URL.
	DirectURL string

	// Schema is the outbox: one schema, one owner. Lower-case letters, digits and underscores. Default: outbox.
	Schema string

	// ConnectTimeout bounds the making of one connection. Default: 5 s.
	ConnectTimeout time.Duration

	// StatementTimeout bounds each statement of reader and settler, on the server. Lease (2 s) and claim (5 s) have their own, never above this one.
	// Default: 10 s. Too small: large pages fail under load; too large: a stuck statement is noticed late.
	StatementTimeout time.Duration

	// SchemaVersion is the lowest version of the schema that the relay works with: Open refuses an older one. 0 = any, and what is missing is met later.
	SchemaVersion int

	// MaxUnsent is the brake: publish fails with OB006 above so many ids after the low-water mark, also while no relay runs. 0 = no brake.
	MaxUnsent int64
}

// Store is one outbox in PostgreSQL. It implements relay.Store and relay.Waker. It opens a connection for each kind of work when that is first asked for,
// and mends it by itself. Methods are safe for concurrent use; calls that share a connection wait for each other.
type Store struct {
	cfg     Config
	sql     func(string) string // puts the schema's name in
	lease   *session
	keeper  *session // housekeeping; no lease is needed for it
	stepper *session // operations; there only while one runs

	mu     sync.Mutex
	owned  *ownership  // the last Acquire; nil before, and after Release
	known  relay.Known // what this process has claimed, or was told
	closed bool
	wakers sync.WaitGroup // the listening goroutines
	stop   context.CancelFunc
	live   context.Context // ends with Close
}

// ownership is what belongs to one Acquire: its connections, and everything in memory that a newer owner must not inherit.
type ownership struct {
	epoch       relay.Epoch
	here        here
	generations []relay.Generation

	read    *reader
	claimer *session
	settler *session
	marks   recent // settles that a crash may take back
	taken   taken  // held messages being sent
	moved   moved
}

// moved is set once a connection met another server history.
type moved struct {
	mu  sync.Mutex
	yes bool
}

func (m *moved) set() {
	m.mu.Lock()
	m.yes = true
	m.mu.Unlock()
}

func (m *moved) is() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.yes
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// Open checks cfg and that a PostgreSQL 15 or later with the outbox's schema, not older than the program's, answers there. A *relay.ConfigError names what a person must change; any other
// error means that the server cannot be reached now. A standby is opened: Acquire refuses it.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, sql: func(q string) string { return strings.ReplaceAll(q, "outbox.", cfg.Schema+".") }}
	s.live, s.stop = context.WithCancel(context.Background())
	s.lease, s.keeper, s.stepper = s.newSession("lease", 0), s.newSession("housekeeper", 0), s.newSession("operations", 0)
	if err := s.checkServer(ctx); err != nil {
		s.stop()
		return nil, explain("open", err)
	}
	return s, nil
}

func (c *Config) complete() error {
	if c.URL == "" {
		return &relay.ConfigError{Class: relay.ClassInvalid, Text: "database.url is empty; give the connection string of the database that the producers write to"}
	}
	c.fill()
	if !schemaName.MatchString(c.Schema) {
		return &relay.ConfigError{Class: relay.ClassInvalid, Text: "database.schema " + c.Schema + ": only lower-case letters, digits and underscores, not beginning with a digit"}
	}
	for _, role := range []string{"lease", "reader"} {
		if _, err := c.ConnConfig(role); err != nil {
			return &relay.ConfigError{Class: relay.ClassInvalid, Text: err.Error()}
		}
	}
	return nil
}

// fill puts the defaults in.
func (c *Config) fill() {
	if c.DirectURL == "" {
		c.DirectURL = c.URL
	}
	if c.Schema == "" {
		c.Schema = "outbox"
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.StatementTimeout <= 0 {
		c.StatementTimeout = 10 * time.Second
	}
}

// ConnConfig returns how a connection for one kind of work is made: "lease", "reader", "claimer", "settler", "listener", "housekeeper", "operations", each with its
// timeouts, planner settings and level of synchronous_commit. The password is not part of any error.
func (c Config) ConnConfig(role string) (*pgx.ConnConfig, error) {
	c.fill()
	url := c.URL
	if role == "lease" || role == "listener" {
		url = c.DirectURL
	}
	pc, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database URL cannot be read: it must look like postgres://user:password@host:5432/database?sslmode=verify-full")
	}
	pc.ConnectTimeout = c.ConnectTimeout
	for k, v := range settings(role, c.StatementTimeout) {
		pc.RuntimeParams[k] = v
	}
	pc.AfterConnect = noTransactionLimit
	return pc, nil
}

func (s *Store) checkServer(ctx context.Context) error {
	var version int
	var there bool
	err := s.checkWay(ctx)
	if err == nil {
		err = s.lease.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, to_regclass($1) IS NOT NULL`, s.cfg.Schema+".message_pending").Scan(&version, &there)
		})
	}
	switch {
	case err != nil && (sqlState(err) == stateBadPassword || sqlState(err) == stateBadLogin || sqlState(err) == stateNoDatabase):
		return &relay.ConfigError{Class: relay.ClassAuth, Text: explain("open", err).Error()}
	case err != nil:
		return err
	case version < 150000:
		return &relay.ConfigError{Class: relay.ClassInvalid, Text: fmt.Sprintf("PostgreSQL %d is too old for the outbox; it needs 15 to 18", version/10000)}
	case !there:
		return &relay.ConfigError{Class: relay.ClassInvalid, Text: fmt.Sprintf("schema %q has no outbox; run: waybill migrate up", s.cfg.Schema)}
	}
	return s.checkSchema(ctx)
}

// checkSchema refuses a schema that is older than the program, before the outbox is owned: an owner would meet what is missing in the middle of its work, and no
// relay that could do it would get the lease meanwhile.
func (s *Store) checkSchema(ctx context.Context) error {
	if s.cfg.SchemaVersion == 0 {
		return nil
	}
	var found int
	err := s.lease.use(ctx, again, func(ctx context.Context, c *pgx.Conn) error {
		return c.QueryRow(ctx, s.sql(`SELECT outbox.version()`)).Scan(&found)
	})
	if err != nil && sqlState(err) != stateNoFunction {
		return err
	}
	if found < s.cfg.SchemaVersion {
		return &relay.ConfigError{Class: relay.ClassInvalid, Text: fmt.Sprintf("schema %q is version %d, this program needs %d; run: waybill migrate up", s.cfg.Schema, found,
			s.cfg.SchemaVersion)}
	}
	return nil
}

// Close ends every connection and waits for the listening goroutines. It releases no lease: that is the engine's decision, because answers may be open.
func (s *Store) Close() {
	s.mu.Lock()
	own := s.owned
	s.owned, s.closed = nil, true
	s.mu.Unlock()
	s.stop()
	if own != nil {
		own.close()
	}
	s.lease.close()
	s.keeper.close()
	s.stepper.close()
	s.wakers.Wait()
}

// owner returns what belongs to the lease, or why there is nothing.
func (s *Store) owner(lease relay.Lease) (*ownership, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, relay.ErrClosed
	case s.owned == nil || s.owned.epoch != lease.Epoch:
		return nil, relay.ErrFenced
	case s.owned.moved.is():
		return nil, relay.ErrMoved
	}
	return s.owned, nil
}

func (o *ownership) close() {
	o.read.session.close()
	o.claimer.close()
	o.settler.close()
}
