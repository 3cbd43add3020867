package checker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// demoProof is what `waybill demo --json` prints.
type demoProof struct {
	Written    int `json:"written"`
	Sent       int `json:"sent"`
	Stored     int `json:"stored"`
	Pending    int `json:"pending"`
	Lost       int `json:"lost"`
	Phantom    int `json:"phantom"`
	OutOfOrder int `json:"out_of_order"`
	Duplicates int `json:"duplicates"`
	Altered    int `json:"altered"`
}

func (p demoProof) clean() bool {
	return p.Written > 0 && p.Written == p.Sent && p.Sent == p.Stored && p.Pending+p.Lost+p.Phantom+p.OutOfOrder+p.Duplicates+p.Altered == 0
}

// proveEvery is after how many kills a demonstration ends in order and proves what lies at the broker.
const proveEvery = 10

// KillDemo starts the demonstration with the bundled broker on one folder and kills it, with everything it has started, so many times; in between and at the end a run
// ends in order, and every committed message must lie at the broker exactly once. The error says what does not; seed decides when it is killed.
func KillDemo(ctx context.Context, binary string, cycles int, seed uint64, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "waybill-demo-kills-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // the server's account has to reach its data
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rnd := rand.New(rand.NewPCG(seed, 7))
	fmt.Fprintf(out, "seed %#x  %d kills of the demonstration\n", seed, cycles)
	written := 0
	for n := 1; n <= cycles; n++ {
		if err := killOnce(ctx, binary, dir, time.Duration(500+rnd.IntN(4000))*time.Millisecond); err != nil {
			return err
		}
		if n%proveEvery != 0 && n != cycles {
			continue
		}
		p, said, err := proveDemo(ctx, binary, dir)
		if err != nil {
			return fmt.Errorf("after %d kills: %w: %s", n, err, said)
		}
		if !p.clean() || p.Written < written {
			return fmt.Errorf("after %d kills: %+v, %d were written before", n, p, written)
		}
		written = p.Written
		fmt.Fprintf(out, "%4d kills: written %d = sent = stored, 0 lost, 0 phantom, 0 out of order, 0 duplicates\n", n, p.Written)
	}
	return nil
}

func demoCommand(ctx context.Context, binary, dir string, more ...string) *exec.Cmd {
	return exec.CommandContext(ctx, binary, append([]string{"demo", "--dir", filepath.Join(dir, "demo"), "--rate", "200"}, more...)...)
}

func killOnce(ctx context.Context, binary, dir string, after time.Duration) error {
	var said bytes.Buffer
	cmd := demoCommand(ctx, binary, dir)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return fmt.Errorf("the demonstration ended by itself: %w: %s", err, said.Bytes())
	case <-time.After(after):
	}
	err := cmd.Process.Kill()
	<-ended
	return err
}

func proveDemo(ctx context.Context, binary, dir string) (p demoProof, said []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := demoCommand(ctx, binary, dir, "--for", "2s", "--json")
	cmd.Stderr = &stderr
	line, err := cmd.Output()
	if err != nil {
		return p, stderr.Bytes(), err
	}
	return p, stderr.Bytes(), json.Unmarshal(line, &p)
}
