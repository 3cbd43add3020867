// Command chaos runs Waybill under faults and judges it:
//
//	go run ./internal/checker/chaos run    --profile mixed --cycles 200 --seed 0x5eed01 --out out/
//	go run ./internal/checker/chaos judge  out/                # the verdict again, no servers
//	go run ./internal/checker/chaos replay --seed 0x5eed01 …   # every run prints its line
//	go run ./internal/checker/chaos bugs   --all | --rotate 2  # planted bugs: each must turn red
//	go run ./internal/checker/chaos demo   --cycles 200        # kill -9 of the demonstration with the bundled broker
//
// Exit codes: 0 green, 1 violation, 2 usage, 3 void, 4 the checker failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/waybillmq/waybill/internal/checker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func command(ctx context.Context, args []string) int {
	if len(args) == 0 {
		return usage(errors.New("which command?"))
	}
	switch args[0] {
	case "run", "replay":
		return run(ctx, args[0], args[1:])
	case "judge":
		return judge(args[1:])
	case "bugs":
		return bugs(ctx, args[1:])
	case "demo":
		return demo(ctx, args[1:])
	}
	return usage(fmt.Errorf("no command %q", args[0]))
}

func usage(err error) int {
	fmt.Fprintln(os.Stderr, "chaos:", err)
	fmt.Fprintln(os.Stderr, "usage: chaos run|replay|judge|bugs|demo [flags]; profiles:", strings.Join(checker.ProfileNames(), " "))
	return checker.ExitUsage
}

func run(ctx context.Context, name string, args []string) int {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	profile := flags.String("profile", "mixed", "which faults")
	seed := flags.Uint64("seed", rand.Uint64N(1<<32), "of faults and workload")
	cycles := flags.Int("cycles", 200, "faults")
	length := flags.Duration("for", 15*time.Minute, "longest time of load and faults")
	outboxes := flags.Int("outboxes", 4, "outboxes in parallel")
	relays := flags.Int("relays", 2, "relays of each outbox")
	postgres := flags.Int("postgres", 18, "major version, 15 or 18")
	out := flags.String("out", "", "folder of the records; empty: a new one")
	if err := flags.Parse(args); err != nil {
		return checker.ExitUsage
	}
	plan, err := checker.NewPlan(*profile, *seed)
	if err != nil {
		return usage(err)
	}
	if plan.Outboxes, plan.Relays = *outboxes, *relays; plan.Outboxes < 1 || plan.Relays < 1 || *cycles < 0 {
		return usage(errors.New("outboxes and relays begin at 1, cycles at 0"))
	}
	plan.Cycles, plan.For, plan.Postgres, plan.Out = *cycles, *length, *postgres, *out
	return withBinary(func(binary string) int {
		rec, err := checker.Run(ctx, plan, binary, os.Stdout)
		if err != nil {
			return failed(err)
		}
		fmt.Print(rec.Summary())
		return rec.Exit
	})
}

// withBinary runs f with the program under test, in a folder of its own that is gone afterwards.
func withBinary(f func(binary string) int) int {
	dir, err := os.MkdirTemp("", "waybill-chaos-bin-")
	if err != nil {
		return failed(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary, err := checker.Build(dir)
	if err != nil {
		return failed(err)
	}
	return f(binary)
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "chaos: the checker failed:", err)
	return checker.ExitChecker
}

func judge(args []string) int {
	if len(args) != 1 {
		return usage(errors.New("judge takes the folder of one run"))
	}
	rec, err := checker.Judge(args[0])
	if err != nil {
		return failed(err)
	}
	fmt.Print(rec.Summary())
	return rec.Exit
}

func bugs(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("bugs", flag.ContinueOnError)
	all := flags.Bool("all", false, "every planted bug")
	rotate := flags.Int("rotate", 0, "so many of them, other ones each day")
	seed := flags.Uint64("seed", rand.Uint64N(1<<32), "of faults and workload")
	control := flags.Bool("control", false, "run the traps without planting anything: none may turn red")
	only := flags.String("only", "", "names, separated by commas")
	if err := flags.Parse(args); err != nil {
		return checker.ExitUsage
	}
	var names []string
	if *only != "" {
		names = strings.Split(*only, ",")
	}
	chosen, err := checker.ChooseBugs(names, *all, *rotate, time.Now())
	if err != nil {
		return usage(err)
	}
	return withBinary(func(binary string) int {
		code := checker.ExitGreen
		for _, bug := range chosen {
			caught, rec, err := checker.Hunt(ctx, bug, *control, *seed, binary, os.Stdout)
			if err != nil {
				return failed(err)
			}
			if caught == *control {
				fmt.Print(rec.Summary())
				code = checker.ExitViolation
			}
		}
		return code
	})
}

func demo(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	cycles := flags.Int("cycles", 200, "kills")
	seed := flags.Uint64("seed", rand.Uint64N(1<<32), "of their moments")
	if err := flags.Parse(args); err != nil {
		return checker.ExitUsage
	}
	return withBinary(func(binary string) int {
		if err := checker.KillDemo(ctx, binary, *cycles, *seed, os.Stdout); err != nil {
			fmt.Println("violation:", err)
			return checker.ExitViolation
		}
		fmt.Println("verdict: green")
		return checker.ExitGreen
	})
}
