package broker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/kp"
)

// The power cuts find a broker that forgets what it remembers of its sources, and nothing where nothing is planted.
func TestPlantedBugs(t *testing.T) {
	if kp.Enabled {
		return // this is the build that the test starts
	}
	binary := filepath.Join(t.TempDir(), "broker.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "killpoints", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("build with planted bugs: %v: %s", err, out)
	}
	for _, bug := range []kp.Bug{"", kp.WindowForgotten} {
		cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^TestSourceSurvivesPowerCuts$")
		cmd.Env = append(os.Environ(), "WAYBILL_BUG="+string(bug))
		out, err := cmd.CombinedOutput()
		if found := strings.Contains(string(out), "--- FAIL: TestSourceSurvivesPowerCuts"); found != (bug != "") || (err != nil) != found {
			t.Errorf("bug %q: found %v, %v\n%s", bug, found, err, out)
		}
	}
}
