package embedded

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/waybillmq/waybill/internal/child"
)

// folder is what lies in Config.Dir: the data folder and the files beside it.
//
//	data/             PostgreSQL's own; belongs to the account, mode 0700
//	postgresql.conf   the settings of the last start; no secret in it
//	password          of the user postgres; mode 0600, stays with the program's user
//	server.log        what the server printed
//	lock              held by the program that runs the server
type folder string

func (f folder) data() string     { return filepath.Join(string(f), "data") }
func (f folder) config() string   { return filepath.Join(string(f), "postgresql.conf") }
func (f folder) password() string { return filepath.Join(string(f), "password") }
func (f folder) log() string      { return filepath.Join(string(f), "server.log") }

// lock keeps a second program out of the folder; closing the file, or the end of the program, releases it.
func (f folder) lock() (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(string(f), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another program runs PostgreSQL in %s: stop it, or choose another folder", string(f))
		}
		return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	return file, nil
}

// prepare makes the data folder, or checks a kept one, and returns the password.
func (f folder) prepare(ctx context.Context, inst Installation, acct Account, noFsync bool) (string, error) {
	kept, err := os.ReadFile(filepath.Join(f.data(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return f.initdb(ctx, inst, acct, noFsync)
	}
	if err != nil {
		return "", err
	}
	if v := strings.TrimSpace(string(kept)); v != strconv.Itoa(inst.Major) {
		return "", fmt.Errorf("the data in %s was made by PostgreSQL %s, but %s has %s: use a %s server, or remove the folder", f.data(), v, inst.Bin,
			inst.Version(), v)
	}
	password, err := os.ReadFile(f.password())
	if err != nil {
		return "", fmt.Errorf("the data in %s was kept without its password: %w", f.data(), err)
	}
	return strings.TrimSpace(string(password)), nil
}

// initdb makes the data folder under another name and renames it when complete, so that an interrupted first start leaves nothing half made. The name is
// a new one each time: the initdb of a program that was killed lives on for a moment, and would clear away what this one makes.
func (f folder) initdb(ctx context.Context, inst Installation, acct Account, noFsync bool) (string, error) {
	raw := make([]byte, 16)
	rand.Read(raw) // never fails (crypto/rand)
	password := hex.EncodeToString(raw)
	f.tidy()
	fresh, err := os.MkdirTemp(string(f), filepath.Base(f.data())+".new-")
	if err != nil {
		return "", err
	}
	if err := errors.Join(acct.Give(fresh), acct.canReach(fresh)); err != nil {
		return "", err
	}
	handed := fresh + ".password"
	if err := os.WriteFile(handed, []byte(password+"\n"), 0o600); err != nil {
		return "", err
	}
	defer os.Remove(handed)
	if err := acct.Give(handed); err != nil {
		return "", err
	}
	args := []string{"-D", fresh, "-U", "postgres", "-A", "scram-sha-256", "--pwfile=" + handed, "-E", "UTF8", "--locale=C", "--no-instructions",
		"--wal-segsize=4"}
	if noFsync {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(inst.Bin, "initdb"), args...)
	acct.Apply(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb in %s: %w: %s", fresh, err, lastLines(out, 3))
	}
	if err := os.WriteFile(f.password(), []byte(password+"\n"), 0o600); err != nil {
		return "", err
	}
	return password, os.Rename(fresh, f.data())
}

// tidy removes what first starts left that were broken off, as far as it can: the rest is removed by a later one.
func (f folder) tidy() {
	left, _ := filepath.Glob(f.data() + ".new*") // the pattern is sound
	for _, path := range left {
		_ = os.RemoveAll(path)
	}
}

// defaults are the settings of every server; Config.Settings overrides them.
func defaults(noFsync bool) map[string]string {
	set := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": "", // TCP only: a socket path over 107 bytes does not start
		"log_line_prefix":         "%m [%p] ",
		"shared_buffers":          "64MB",
		"max_wal_size":            "512MB",
	}
	if noFsync {
		set["fsync"] = "off"
	}
	return set
}

var settingName = regexp.MustCompile(`^[a-z_][a-z0-9_.]*$`)

// writeConfig writes the settings beside the data folder and not into it: the program's user never writes where the account could place a link, and ALTER
// SYSTEM, read after this file, keeps its effect.
func (f folder) writeConfig(settings map[string]string) error {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := settings[name]
		if !settingName.MatchString(name) || strings.ContainsAny(value, "\n\r\x00") {
			return fmt.Errorf("%q = %q is no setting of PostgreSQL", name, value)
		}
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.NewReplacer("'", "''", `\`, `\\`).Replace(value))
	}
	if err := os.WriteFile(f.config(), b.Bytes(), 0o644); err != nil {
		return err
	}
	return os.Chmod(f.config(), 0o644) // whatever the umask: the account has to read it
}

// postmaster reads the process id and the state from data/postmaster.pid: line 1 and line 8 (PostgreSQL's src/include/utils/pidfile.h).
func (f folder) postmaster() (pid int, state string) {
	raw, err := os.ReadFile(filepath.Join(f.data(), "postmaster.pid"))
	if err != nil {
		return 0, ""
	}
	lines := strings.Split(string(raw), "\n")
	if pid, err = strconv.Atoi(strings.TrimSpace(lines[0])); err != nil {
		return 0, ""
	}
	if len(lines) >= 8 {
		state = strings.TrimSpace(lines[7])
	}
	return pid, state
}

// endPredecessor stops a server that an earlier, killed program left in the folder: on Linux it is on its way out already, elsewhere it would run on. The
// caller holds the lock, so nobody else owns that server.
func (f folder) endPredecessor(ctx context.Context) error {
	pid, _ := f.postmaster()
	if pid == 0 || !child.Alive(pid) || !strings.Contains(child.Command(pid), f.data()) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("a PostgreSQL (process %d) still runs in %s and cannot be stopped: %w", pid, f.data(), err)
	}
	return poll(ctx, func() bool { return !child.Alive(pid) })
}

// poll asks every 10 ms until done, or until ctx ends.
func poll(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}
