package app

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
)

// asPanicking makes a process of this test one whose chore panics.
const asPanicking = "WAYBILL_TEST_CHORE_PANICS"

// A chore that panics ends the process and says why, although the scheduler recovers its jobs.
func TestPanicOfAChoreEndsTheProcess_G3(t *testing.T) {
	if os.Getenv(asPanicking) != "" {
		cron, err := gocron.NewScheduler()
		if err != nil {
			t.Fatal(err)
		}
		run := gocron.NewTask(unrecovered(func() { panic("planted in a chore") }))
		if _, err := cron.NewJob(gocron.DurationJob(time.Hour), run, gocron.WithStartAt(gocron.WithStartImmediately())); err != nil {
			t.Fatal(err)
		}
		cron.Start()
		time.Sleep(10 * time.Second) // the panic ends it long before
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), asPanicking+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "panic: planted in a chore") {
		t.Errorf("%v\n%s", err, out)
	}
}
