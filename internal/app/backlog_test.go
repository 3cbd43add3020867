package app

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

var backlogRows = flag.Int("backlog", 150_000, "messages of TestBacklogTakesNoMemory_G2, of 1 KiB each")

// G2: a backlog that is larger than the memory that a relay may take waits when it starts. It is sent, and the most memory that the relay ever had is that of what it reads
// ahead, not of what waits.
func TestBacklogTakesNoMemory_G2(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 4, nil)
	r.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT $1, 'k-' || n % 1000, convert_to(repeat(md5(n::text), 32), 'UTF8') FROM generate_series(1, $2::int) n`, topic, *backlogRows)
	began := time.Now()
	p := r.launch("a")
	limit := patience + time.Duration(*backlogRows/1000)*time.Second
	within(t, limit, "the backlog is sent", func() bool {
		left, err := tryAsk[bool](r, `SELECT EXISTS (SELECT FROM outbox.message_pending) OR EXISTS (SELECT FROM outbox.message_held)`)
		return err == nil && !left
	}, r.picture)
	took := time.Since(began)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status) // the most that it ever had
	if found == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kib, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages of 1 KiB took %v (%.0f a second), the relay took %d MiB at most", *backlogRows, took.Round(time.Millisecond), float64(*backlogRows)/took.Seconds(), kib>>10)
	if kib > 140<<10 {
		t.Errorf("the relay took %d MiB for a backlog of %d MiB", kib>>10, *backlogRows>>10)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	r.verdict(0)
}
