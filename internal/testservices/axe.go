package testservices

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// axeVersion is of axe-core, Deque's rules of accessibility, which run inside a page.
const axeVersion = "4.10.2"

const axeScript = "axe.min.js"

// Axe is the script of axe-core: of the file that WAYBILL_TEST_AXE names, else of the jar that Maven brings.
func Axe(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	path, err := axe(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	script, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return string(script)
}

func axe(ctx context.Context) (path string, err error) {
	if path := os.Getenv("WAYBILL_TEST_AXE"); path != "" {
		return path, nil
	}
	dir, err := cached("axe-"+axeVersion, func(dir string) error { return unpackAxe(ctx, dir) })
	if err != nil {
		return "", fmt.Errorf("no axe-core: %w. Or set WAYBILL_TEST_AXE to its %s", err, axeScript)
	}
	return filepath.Join(dir, axeScript), nil
}

func unpackAxe(ctx context.Context, dir string) (err error) {
	mvn, err := program(ctx, "mvn", "maven")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mvn, "-B", "-q", "-Dstyle.color=never", mavenDependency+":copy", "-Dartifact=com.deque.html.axe-core:playwright:"+axeVersion+":jar",
		"-DoutputDirectory="+dir)
	cmd.Dir = dir
	if err := run(cmd); err != nil {
		return err
	}
	name := filepath.Join(dir, "playwright-"+axeVersion+".jar")
	jar, err := zip.OpenReader(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, jar.Close(), os.Remove(name)) }()
	in, err := jar.Open(axeScript)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	script, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, axeScript), script, 0o644)
}
