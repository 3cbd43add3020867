package app

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// G9: the file of the program is replaced while it runs, as an upgrade does, and then removed. The running one goes on and stops in order; the next start is the new file.
func TestProgramFileIsReplaced_G9(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 4, nil)
	built, err := r.program()
	if err != nil {
		t.Fatal(err)
	}
	installed := filepath.Join(t.TempDir(), "waybill")
	install := func() {
		t.Helper()
		raw, err := os.ReadFile(built)
		if err == nil {
			err = os.WriteFile(installed+".new", raw, 0o755)
		}
		if err == nil {
			err = os.Rename(installed+".new", installed)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install()
	r.program = func() (string, error) { return installed, nil }
	l := r.write(150, 30, "", topic)
	sends := func(who string) {
		t.Helper()
		above := r.newest()
		eventually(t, who+" sends", func() bool { return r.sentOf(topic, above) > 100 })
	}
	a := r.launch("a")
	sends("a")
	install()
	sends("a, whose file is another one,")
	if err := os.Remove(installed); err != nil {
		t.Fatal(err)
	}
	sends("a, whose file is gone,")
	install()
	if err := a.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := a.exits(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	r.launch("b")
	sends("b")
	l.stop()
	r.drained()
	r.verdict(0)
}

// G5: the program has no file descriptor left, and strangers take each that comes free. It keeps its lease, its sessions are made again after they were ended, what is
// written is sent, and its listener answers as soon as there are descriptors.
func TestNoFileDescriptorsLeft_G5(t *testing.T) {
	r := sharedRig(t)
	topic := r.topic("orders", 4, nil)
	l := r.write(150, 30, "", topic)
	a := r.launch("a")
	sends := func(when string) {
		t.Helper()
		above := r.newest()
		eventually(t, "it sends "+when, func() bool { return r.sentOf(topic, above) > 200 })
	}
	sends("at first")
	said, err := os.ReadFile(a.log)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`metrics[=": ]+(127\.0\.0\.1:\d+)`).FindSubmatch(said)
	if found == nil {
		t.Fatalf("no address of the metrics in %s", said)
	}
	open := func() int {
		t.Helper()
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.PID()))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	limit := func(n int) {
		t.Helper()
		if out, err := exec.Command("prlimit", fmt.Sprintf("--pid=%d", a.PID()), fmt.Sprintf("--nofile=%d:", n)).CombinedOutput(); err != nil {
			t.Fatalf("prlimit: %v: %s", err, out)
		}
	}
	most := open() + 5
	limit(most)
	var strangers []net.Conn
	for range 100 {
		c, err := net.DialTimeout("tcp", string(found[1]), 2*time.Second)
		if err != nil {
			break // the queue of connections that nobody accepts is full
		}
		strangers = append(strangers, c)
	}
	eventually(t, "no descriptor is left", func() bool { return open() >= most })
	sends("without a free descriptor")
	r.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'waybill/%'`)
	sends("after its sessions were ended")
	if epoch := ask[int](r, `SELECT epoch FROM outbox.owner`); epoch != 1 {
		t.Errorf("epoch %d: the lease was lost", epoch)
	}
	for _, c := range strangers {
		_ = c.Close()
	}
	limit(1024)
	eventually(t, "the listener answers", func() bool {
		c, err := net.DialTimeout("tcp", string(found[1]), time.Second)
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		if _, err := c.Write([]byte("GET /livez HTTP/1.0\r\n\r\n")); err != nil {
			return false
		}
		n, _ := c.Read(make([]byte, 12))
		return n == 12
	})
	l.stop()
	r.drained()
	r.verdict(0)
}
