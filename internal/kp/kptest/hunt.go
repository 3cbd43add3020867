// Package kptest lets a test prove that it finds what it is there to find: the bugs that package kp plants.
package kptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/kp"
)

// Hunt builds the tests of the package it is called from with planted bugs and runs one of them, or one subtest, with each: it must fail. Without any it must
// pass. args are more flags of that test.
func Hunt(t *testing.T, test string, bugs []kp.Bug, args ...string) {
	t.Helper()
	if kp.Enabled {
		return // this is the build that the test starts
	}
	binary := filepath.Join(t.TempDir(), "planted.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "killpoints", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build with planted bugs: %v: %s", err, out)
	}
	args = append([]string{"-test.run", "^" + strings.ReplaceAll(test, "/", "$/^") + "$"}, args...)
	for _, bug := range append([]kp.Bug{""}, bugs...) {
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = append(os.Environ(), "WAYBILL_BUG="+string(bug))
		out, err := cmd.CombinedOutput()
		if found := strings.Contains(string(out), "--- FAIL: "+test); found != (bug != "") || (err != nil) != found {
			t.Errorf("bug %q: found %v, %v\n%s", bug, found, err, out)
		}
	}
}
