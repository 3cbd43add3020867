// Command waybill reads committed messages from a transactional outbox in PostgreSQL, hands them to a broker, and helps the people who look after it.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() { os.Exit(execute()) }

// execute runs the program with the arguments of the process. The context ends with the first interrupt; commands that drain then listen for a second.
func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv("GOGC") == "" {
		// Pages of payloads are large and live for milliseconds: the usual headroom of 100 % is memory that a sidecar takes from its application.
		debug.SetGCPercent(50)
	}
	p := &program{in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ()}
	return p.run(ctx, os.Args[1:])
}
