package commitlog

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/kp"
)

// The crash images find every bug that is planted in the log, and none where none is.
func TestPlantedBugs(t *testing.T) {
	if kp.Enabled {
		return // this is the build that the test starts
	}
	binary := filepath.Join(t.TempDir(), "commitlog.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "killpoints", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build with planted bugs: %v: %s", err, out)
	}
	for _, bug := range append([]kp.Bug{""}, kp.LogBugs...) {
		cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^TestCrashImages$", "-log.images", "2000")
		cmd.Env = append(os.Environ(), "WAYBILL_BUG="+string(bug))
		out, err := cmd.CombinedOutput()
		if found := strings.Contains(string(out), "--- FAIL: TestCrashImages/flips=false"); found != (bug != "") || (err != nil) != found {
			t.Errorf("bug %q: found %v, %v\n%s", bug, found, err, out)
		}
	}
}
