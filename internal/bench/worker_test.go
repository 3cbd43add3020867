package bench

import (
	"bytes"
	"strings"
	"testing"
)

func TestWorkerTellsWhyItCannot(t *testing.T) {
	command := testOptions(t).Worker
	for _, c := range []struct {
		name    string
		command []string
		job     job
		says    string
	}{
		{"no such job", command, job{Kind: "dance"}, `asked for "dance"`},
		{"no server for the engine", command, job{Kind: jobRelay, URL: "postgres://nobody@127.0.0.1:1/none?sslmode=disable"}, "127.0.0.1"},
		{"no server for the loop", command, job{Kind: jobLoop, Workers: 1, URL: "postgres://nobody@127.0.0.1:1/none?sslmode=disable"}, "127.0.0.1"},
		{"a command that is no worker", []string{"/bin/true"}, job{Kind: jobRelay}, "worker"},
		{"no such command", []string{"/no/such/command"}, job{Kind: jobRelay}, "/no/such/command"},
		{"no command", nil, job{Kind: jobRelay}, "no command"},
	} {
		if _, err := startWorker(c.command, &c.job); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

func TestWorkRefusesWhatIsNoJob(t *testing.T) {
	var out bytes.Buffer
	for _, in := range []string{"", "no JSON\n"} {
		if err := Work(t.Context(), strings.NewReader(in), &out); err == nil || out.Len() > 0 {
			t.Errorf("%q: %v, answered %q", in, err, out.String())
		}
	}
}
