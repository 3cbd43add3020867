package testservices

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Chromium is the path of a browser: the one that WAYBILL_TEST_CHROMIUM names, else what is on the machine, else Debian's package.
func Chromium(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	path, err := chromium(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func chromium(ctx context.Context) (string, error) {
	if path := os.Getenv("WAYBILL_TEST_CHROMIUM"); path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("WAYBILL_TEST_CHROMIUM: %w", err)
		}
		return path, nil
	}
	if path, ok := findChromium(); ok {
		return path, nil
	}
	err := aptInstall(ctx, "chromium")
	if err == nil {
		if path, ok := findChromium(); ok {
			return path, nil
		}
		err = errors.New("the package chromium has no program where it is expected")
	}
	return "", fmt.Errorf("no Chromium: %w. Install it, or set WAYBILL_TEST_CHROMIUM to the program", err)
}

func findChromium() (string, bool) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, true
		}
	}
	return "", false
}
