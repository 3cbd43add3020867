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
	mib := peak(t, p)
	t.Logf("%d messages of 1 KiB took %v (%.0f a second), the relay took %d MiB at most", *backlogRows, took.Round(time.Millisecond), float64(*backlogRows)/took.Seconds(), mib)
	if mib > 140 {
		t.Errorf("the relay took %d MiB for a backlog of %d MiB", mib, *backlogRows>>10)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	r.verdict(0)
}

// peak is the most memory that a program ever had, in MiB.
func peak(t *testing.T, p *program) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kib, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// F19, K8: rows of several megabytes wait when a relay starts, together far more than the memory that it may take, small ones of the same keys between them. They arrive in
// order, and the relay never has more of them in memory than its lanes send.
func TestLargeRowsTakeLittleMemory_F19_K8(t *testing.T) {
	const rows, bytes = 60, 4 << 20
	r := sharedRig(t)
	topic := r.topic("scans", 4, map[string]string{"max.message.bytes": fmt.Sprint(bytes + 1<<20)})
	r.exec(`INSERT INTO outbox.message_log (topic, key, payload) SELECT $1, 'k-' || n % 9, convert_to(repeat(md5(n::text), CASE n % 2 WHEN 0 THEN $3::int / 32 ELSE 1 END), 'UTF8')
		FROM generate_series(1, 2 * $2::int) n`, topic, rows, bytes)
	began := time.Now()
	p := r.launch("a")
	within(t, patience, "they are sent", func() bool { return r.waiting() == 0 }, r.picture)
	mib := peak(t, p)
	t.Logf("%d messages of %d MiB took %v, the relay took %d MiB at most", rows, bytes>>20, time.Since(began).Round(time.Millisecond), mib)
	if mib > 180 {
		t.Errorf("the relay took %d MiB for %d MiB", mib, rows*bytes>>20)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	r.verdict(0)
}
