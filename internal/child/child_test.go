package child_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/waybillmq/waybill/internal/child"
)

// victim makes this test binary a program that starts a child, prints its process id and waits to be killed.
const victim = "WAYBILL_TEST_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(victim) != "" {
		p, err := child.Start(exec.Command("sleep", "60"), syscall.SIGKILL)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(p.PID())
		<-p.Done()
		return
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, args ...string) *child.Process {
	t.Helper()
	p, err := child.Start(exec.Command(args[0], args[1:]...), syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// eventually waits for what another process does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestProcessTellsHowItEnded(t *testing.T) {
	for script, want := range map[string]string{"exit 0": "", "exit 3": "exit status 3", "kill -9 $$": "signal: killed"} {
		p := start(t, "sh", "-c", script)
		<-p.Done()
		got := ""
		if err := p.Err(); err != nil {
			got = err.Error()
		}
		if got != want || p.Running() {
			t.Errorf("%q ended with %q, running %t; want %q", script, got, p.Running(), want)
		}
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("signal to a child that has ended: %v", err)
		}
	}
}

func TestProgramThatIsMissing(t *testing.T) {
	if _, err := child.Start(exec.Command("/no/such/program"), syscall.SIGKILL); err == nil || !strings.Contains(err.Error(), "start program") {
		t.Errorf("error %v does not name the program", err)
	}
}

func TestChildrenAndCommandOfALiveProcess(t *testing.T) {
	p := start(t, "sh", "-c", "sleep 61 & wait")
	eventually(t, "the shell has a child", func() bool { return len(child.Children(p.PID())) == 1 })
	grand := child.Children(p.PID())[0]
	eventually(t, "the child is sleep 61", func() bool { return child.Command(grand) == "sleep 61" })
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if child.Alive(p.PID()) || !child.Alive(grand) {
		t.Errorf("after kill -9: shell alive %t, its child alive %t", child.Alive(p.PID()), child.Alive(grand))
	}
	if err := syscall.Kill(grand, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is gone, or a zombie", func() bool { return !child.Alive(grand) })
	if got := child.Command(1 << 30); got != "" {
		t.Errorf("command of no process: %q", got)
	}
}

// Ctrl-C in a terminal signals the program's process group: a child in it would end before the program asks it to.
func TestChildHasItsOwnProcessGroup(t *testing.T) {
	p := start(t, "sleep", "60")
	group, err := syscall.Getpgid(p.PID())
	if err != nil || group != p.PID() {
		t.Errorf("process group %d (%v), want %d", group, err, p.PID())
	}
}

func TestChildEndsWithAKilledProgram(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victim+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	_, err = fmt.Sscan(line, &pid)
	if killErr := cmd.Process.Kill(); err != nil || killErr != nil {
		t.Fatalf("the program said %q (%v, %v)", line, err, killErr)
	}
	_ = cmd.Wait() // it was killed
	if child.DiesWithProgram {
		eventually(t, "the child is gone", func() bool { return !child.Alive(pid) })
	} else if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}
