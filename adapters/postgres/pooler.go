package postgres

import (
	"context"
	"maps"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybillmq/waybill/relay"
)

// dial makes a connection, also through a pooler, which may refuse the settings that come with one (PgBouncer does) or drop them. pooled says that there is one: then
// the process that answers is not the one that was announced, and adopt has still to set them.
func dial(ctx context.Context, pc *pgx.ConnConfig) (conn *pgx.Conn, pooled bool, err error) {
	conn, err = pgx.ConnectConfig(ctx, pc)
	if sqlState(err) == stateProtocol {
		bare := pc.Copy()
		bare.RuntimeParams = map[string]string{"application_name": pc.RuntimeParams["application_name"]}
		conn, err = pgx.ConnectConfig(ctx, bare)
	}
	if err != nil {
		return nil, false, err
	}
	pid, err := backend(ctx, conn)
	if err != nil {
		closeConn(conn)
		return nil, false, err
	}
	return conn, pid != conn.PgConn().PID(), nil
}

// backend is the process of the server that answers.
func backend(ctx context.Context, conn *pgx.Conn) (pid uint32, err error) {
	err = conn.QueryRow(ctx, `SELECT pg_backend_pid()::bigint`, pgx.QueryExecModeExec).Scan(&pid)
	return pid, err
}

// connect makes a connection that has the settings of pc. Through a pooler they are set behind it: they stay while it keeps one connection of the server for us.
func connect(ctx context.Context, pc *pgx.ConnConfig) (*pgx.Conn, error) {
	conn, pooled, err := dial(ctx, pc)
	if err != nil || !pooled {
		return conn, err
	}
	if err := adopt(ctx, conn, pc.RuntimeParams); err != nil {
		closeConn(conn)
		return nil, err
	}
	return conn, nil
}

// adopt sets what a pooler kept from the server.
func adopt(ctx context.Context, conn *pgx.Conn, settings map[string]string) error {
	var names, values []string
	for name, value := range settings {
		names, values = append(names, name), append(values, value)
	}
	_, err := conn.Exec(ctx, `SELECT set_config(s.name, s.value, false) FROM unnest($1::text[], $2::text[]) AS s(name, value)`, pgx.QueryExecModeExec, names, values)
	return err
}

// throughPooler lets the connections of a pool have their settings through a pooler, too. The server is asked once what the way is.
func throughPooler(pc *pgxpool.Config) {
	settings, then := maps.Clone(pc.ConnConfig.RuntimeParams), pc.AfterConnect
	var mu sync.Mutex
	known, pooled := false, false
	pc.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		mu.Lock()
		defer mu.Unlock()
		if !known {
			way, given, err := shared(ctx, cc.Copy())
			switch {
			case err != nil:
				return err
			case given:
				return sharedError("database.url")
			}
			known, pooled = true, way
		}
		if pooled {
			cc.RuntimeParams = map[string]string{"application_name": settings["application_name"]}
		}
		return nil
	}
	pc.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		mu.Lock()
		late := pooled
		mu.Unlock()
		if late {
			if err := adopt(ctx, conn, settings); err != nil {
				return err
			}
		}
		return then(ctx, conn)
	}
}

func sharedError(key string) error {
	return &relay.ConfigError{Class: relay.ClassInvalid, Text: key + " leads through a pooler that gives a session to others between two transactions, with the settings and " +
		"the LISTEN of the relay; let it keep sessions for this login (PgBouncer: pool_mode = session for its user or database), or lead to the server itself. " +
		"Applications may go on through it as they do"}
}

// sharedTries is how often it is tried to meet a connection of the server that another client of the pooler has used a moment before.
const sharedTries = 3

// shared says that a pooler gives the server's connections to other clients between two transactions (PgBouncer: pool_mode = transaction): a second client meets,
// inside a transaction, the process that answered the first one, which is still connected. It sets nothing, so that nothing of it stays there.
func shared(ctx context.Context, pc *pgx.ConnConfig) (pooled, shared bool, err error) {
	pc.AfterConnect = nil
	first, pooled, err := dial(ctx, pc)
	if err != nil || !pooled {
		if err == nil {
			closeConn(first)
		}
		return pooled, false, err
	}
	defer closeConn(first)
	second, _, err := dial(ctx, pc)
	if err != nil {
		return true, false, err
	}
	defer closeConn(second)
	for range sharedTries {
		was, err := backend(ctx, first)
		if err != nil {
			return true, false, err
		}
		err = pgx.BeginFunc(ctx, second, func(tx pgx.Tx) error {
			now, err := backend(ctx, tx.Conn())
			shared = now == was
			return err
		})
		if err != nil || shared {
			return true, shared, err
		}
	}
	return true, false, nil
}

// checkWay refuses a pooler that does not keep a session together.
func (s *Store) checkWay(ctx context.Context) error {
	for _, way := range []struct{ role, key string }{{"lease", "database.direct_url"}, {"reader", "database.url"}} {
		if s.cfg.DirectURL == s.cfg.URL && way.role == "lease" {
			continue
		}
		pc, err := s.cfg.ConnConfig(way.role)
		if err != nil {
			return err
		}
		if _, shared, err := shared(ctx, pc); err != nil {
			return err
		} else if shared {
			return sharedError(way.key)
		}
	}
	return nil
}
