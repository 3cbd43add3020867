package testservices

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Promtool is the path of Prometheus' own checker of rules: the one that WAYBILL_TEST_PROMTOOL names, else what is on the machine, else that of Debian's package
// prometheus, which is unpacked and not installed: its server would be started.
func Promtool(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	path, err := promtool(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func promtool(ctx context.Context) (string, error) {
	if path := os.Getenv("WAYBILL_TEST_PROMTOOL"); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("WAYBILL_TEST_PROMTOOL: %w", err)
		}
		return path, nil
	}
	if path, err := exec.LookPath("promtool"); err == nil {
		return path, nil
	}
	dir, err := cached("promtool", func(dir string) error { return unpackPromtool(ctx, dir) })
	if err != nil {
		return "", fmt.Errorf("no promtool: %w. Install it, or set WAYBILL_TEST_PROMTOOL to the program", err)
	}
	return filepath.Join(dir, "promtool"), nil
}

func unpackPromtool(ctx context.Context, dir string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("only on Debian or Ubuntu is it fetched")
	}
	if err := aptDownload(ctx, dir, "prometheus"); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(packages) != 1 {
		return errors.Join(errors.New("apt-get brought no package"), err)
	}
	whole := filepath.Join(dir, "whole")
	if err := run(exec.CommandContext(ctx, "dpkg-deb", "-x", packages[0], whole)); err != nil {
		return err
	}
	return errors.Join(os.Rename(filepath.Join(whole, "usr/bin/promtool"), filepath.Join(dir, "promtool")), os.RemoveAll(whole), os.Remove(packages[0]))
}

// aptDownload brings a package into a folder. Package lists may be absent: then, and only then, they are fetched.
func aptDownload(ctx context.Context, dir, name string) error {
	download := func() error {
		cmd := exec.CommandContext(ctx, "apt-get", "-q", "download", name)
		cmd.Dir = dir
		return run(cmd)
	}
	if download() == nil {
		return nil
	}
	return errors.Join(aptGet(ctx, []string{"update"}), download())
}
