package testservices_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/child"
	"github.com/waybillmq/waybill/internal/testservices"
)

// victim makes this test binary a program that starts one server of each kind, prints their process ids and waits to be killed.
const victim = "WAYBILL_TEST_VICTIM"

func TestMain(m *testing.M) {
	if os.Getenv(victim) != "" {
		if err := beVictim(); err != nil {
			fmt.Println("failed:", err)
		}
		return
	}
	testservices.Main(m)
}

func beVictim() error {
	ctx := context.Background()
	pg, err := testservices.NewPostgres(ctx, 15)
	if err != nil {
		return err
	}
	kafka, err := testservices.NewKafka(ctx, 1)
	if err != nil {
		return err
	}
	rocket, err := testservices.NewRocketMQ(ctx)
	if err != nil {
		return err
	}
	rabbit, err := testservices.NewRabbitMQ(ctx, 1)
	if err != nil {
		return err
	}
	fmt.Println("started", pg.PID(), kafka.PID(1), rocket.PID(testservices.NameServer), rocket.PID(testservices.Master), rabbit.PID(1), rabbit.NamesPID())
	_, err = bufio.NewReader(os.Stdin).ReadByte()
	return err
}

func TestNoServerOutlivesAKilledTestProcess(t *testing.T) {
	if !child.DiesWithProgram {
		t.Log("this system sends no signal when a parent dies: the next start ends what was left")
		return
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victim+"=1")
	stdin, err := cmd.StdinPipe()
	must(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	names := []string{"PostgreSQL", "Kafka", "RocketMQ's name server", "RocketMQ's master", "RabbitMQ", "epmd"}
	pids := make([]int, len(names))
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	_, scanErr := fmt.Sscanf(line, "started %d %d %d %d %d %d", &pids[0], &pids[1], &pids[2], &pids[3], &pids[4], &pids[5])
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	if readErr != nil || scanErr != nil {
		t.Fatalf("the victim said %q (%v)", strings.TrimSpace(line), readErr)
	}
	deadline := time.Now().Add(10 * time.Second)
	for i, pid := range pids {
		for child.Alive(pid) {
			if time.Now().After(deadline) {
				t.Fatalf("after kill -9 of the program %s (process %d) is alive", names[i], pid)
			}
			<-time.After(10 * time.Millisecond)
		}
	}
}
