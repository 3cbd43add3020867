package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// Account is the operating system user that the server runs as. PostgreSQL refuses to run as root, so root hands it to an unprivileged one.
type Account struct {
	Name string
	uid  int
	gid  int
	drop bool
}

// RunAs chooses the account: the current user, or for root `postgres`, else `nobody`.
func RunAs() (Account, error) {
	if os.Geteuid() != 0 {
		return Account{Name: "the current user", uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, errU := strconv.Atoi(u.Uid)
			gid, errG := strconv.Atoi(u.Gid)
			if errU == nil && errG == nil && uid != 0 {
				return Account{Name: "user " + u.Username, uid: uid, gid: gid, drop: true}, nil
			}
		}
	}
	return Account{}, errors.New("PostgreSQL does not run as root, and this machine has no user postgres or nobody: run waybill as an ordinary user")
}

// Apply makes cmd run as the account, in the root folder (the current one may be closed to it) and without the PG… variables of the caller, which would
// steer the server and its tools.
func (a Account) Apply(cmd *exec.Cmd) {
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/local/bin:/usr/bin:/bin"}
	for _, name := range []string{"LD_LIBRARY_PATH", "TZ", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	if a.drop {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid), Groups: []uint32{}}
	}
}

// Give hands a file or folder to the account.
func (a Account) Give(path string) error {
	if !a.drop {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// folderMode lets the account through a folder that it does not own.
func (a Account) folderMode() os.FileMode {
	if a.drop {
		return 0o711
	}
	return 0o700
}

// canReach says in a sentence when the account cannot work in dir, before a tool of PostgreSQL says so less clearly.
func (a Account) canReach(dir string) error {
	if !a.drop {
		return nil
	}
	cmd := exec.Command("/bin/sh", "-c", `cd -- "$1" && test -w .`, "sh", dir)
	a.Apply(cmd)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s, which PostgreSQL runs as, cannot work in %s: a folder above it is closed to that user. Choose a folder outside root's home",
			a.Name, dir)
	}
	return nil
}

// CacheDir is the folder for what this program keeps between runs, made when absent: the user's cache folder, and for root /var/cache/waybill, since
// root's home is closed to the account that the server runs as.
func CacheDir() (string, error) {
	dir := "/var/cache/waybill"
	if os.Geteuid() != 0 {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder: %w", err)
		}
		dir = filepath.Join(base, "waybill")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if os.Geteuid() == 0 { // a umask of 077 would close it to the account
		return dir, os.Chmod(dir, 0o755)
	}
	return dir, nil
}
