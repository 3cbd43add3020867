package outbox_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What is no transaction does not compile, and what is one does.
func TestOnlyTransactionsCompile(t *testing.T) {
	for folder, want := range map[string]string{
		"misuse/pool": "does not match outbox.Tx", "misuse/conn": "does not match outbox.Tx", "misuse/sqldb": "missing method Commit",
		"misuse/sqlconn": "missing method Commit", "use": "",
	} {
		t.Run(folder, func(t *testing.T) {
			// The child's inputs are unknown to the test cache: reading them here makes them known.
			if _, err := os.ReadFile("testdata/" + folder + "/" + folder[strings.LastIndex(folder, "/")+1:] + ".go"); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), "go", "build", "./testdata/"+folder).CombinedOutput()
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(string(out), want)) {
				t.Errorf("go build: %v, want %q:\n%s", err, want, out)
			}
		})
	}
}
