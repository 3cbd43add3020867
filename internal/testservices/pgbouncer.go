package testservices

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/embedded"
)

// Bouncer is a PgBouncer in front of one PostgreSQL.
type Bouncer struct {
	daemon
	port *port
}

// PgBouncer starts a pooler in front of the server that to leads to, for this test alone, and stops it at its end. Mode is pool_mode: session or transaction.
// Logins are the names that it knows, with their passwords, besides the one of to.
func PgBouncer(tb testing.TB, to, mode string, logins map[string]string) *Bouncer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	b, err := newPgBouncer(ctx, to, mode, logins)
	if err != nil {
		tb.Fatalf("PgBouncer cannot be started: %v", err)
	}
	closeAtEnd(tb, b)
	return b
}

func newPgBouncer(ctx context.Context, to, mode string, logins map[string]string) (_ *Bouncer, err error) {
	program, err := pgBouncer(ctx)
	if err != nil {
		return nil, err
	}
	account, err := embedded.RunAs() // it refuses to run as root
	if err != nil {
		return nil, err
	}
	space, err := processSpace()
	if err != nil {
		return nil, err
	}
	b := &Bouncer{daemon: daemon{name: "PgBouncer, pool_mode " + mode}}
	if b.dir, err = space.folder("pgbouncer"); err != nil {
		return nil, err
	}
	if b.port, err = space.port(); err != nil {
		return nil, err
	}
	opened(b)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if err := b.configure(account, to, mode, logins); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, b.file("ini"))
	account.Apply(cmd)
	begin, err := b.launch(cmd)
	if err != nil {
		return nil, err
	}
	return b, b.awaitReady(ctx, begin, "process up")
}

func (b *Bouncer) file(name string) string { return filepath.Join(b.dir, name) }

// configure writes its two files, which only its account may read.
func (b *Bouncer) configure(account embedded.Account, to, mode string, logins map[string]string) error {
	server, err := url.Parse(to)
	if err != nil {
		return err
	}
	quoted := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	password, _ := server.User.Password()
	users := quoted(server.User.Username()) + " " + quoted(password) + "\n"
	for name, password := range logins {
		users += quoted(name) + " " + quoted(password) + "\n"
	}
	ini := fmt.Sprintf("[databases]\n* = host=%s port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %d\nunix_socket_dir =\nauth_type = md5\nauth_file = %s\npool_mode = %s\n",
		server.Hostname(), server.Port(), b.port.number, b.file("users"), mode)
	for name, text := range map[string]string{"ini": ini, "users": users} {
		if err := errors.Join(os.WriteFile(b.file(name), []byte(text), 0o600), account.Give(b.file(name))); err != nil {
			return err
		}
	}
	return nil
}

// URL is the way through the pooler for what to leads to.
func (b *Bouncer) URL(to string) string {
	u, err := url.Parse(to)
	if err != nil {
		return ""
	}
	u.Host = b.port.address()
	return u.String()
}

// String names it.
func (b *Bouncer) String() string { return b.name + " on " + b.port.address() }

// Close ends it with the connections that it has.
func (b *Bouncer) Close() error {
	defer closed(b)
	defer b.port.release()
	err := b.signal(syscall.SIGTERM)
	select {
	case <-b.done():
	case <-time.After(10 * time.Second):
		err = errors.Join(err, fmt.Errorf("%s does not end", b), b.signal(syscall.SIGKILL))
		<-b.done()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// pgBouncer finds the program: the one that WAYBILL_TEST_PGBOUNCER names, else what is on the machine, else Debian's package.
func pgBouncer(ctx context.Context) (string, error) {
	if path := os.Getenv("WAYBILL_TEST_PGBOUNCER"); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("WAYBILL_TEST_PGBOUNCER: %w", err)
		}
		return path, nil
	}
	find := func() (string, error) {
		if path, err := exec.LookPath("pgbouncer"); err == nil {
			return path, nil
		}
		return exec.LookPath("/usr/sbin/pgbouncer") // not everybody has that folder in PATH
	}
	path, err := find()
	if err == nil {
		return path, nil
	}
	if err = withoutService("pgbouncer", func() error { return aptInstall(ctx, "pgbouncer") }); err == nil {
		path, err = find()
	}
	if err != nil {
		return "", fmt.Errorf("no PgBouncer: %w. Install it, or set WAYBILL_TEST_PGBOUNCER to the program", err)
	}
	return path, nil
}
