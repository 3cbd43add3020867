// Serve starts one of the servers of the tests by hand, prints how to reach it and runs until Ctrl-C; then server and data are gone.
//
//	go run ./internal/testservices/serve postgres --major 18
//	go run ./internal/testservices/serve kafka --nodes 3
//	go run ./internal/testservices/serve kafka --roomy         for figures
//	go run ./internal/testservices/serve rocketmq --slave
//	go run ./internal/testservices/serve rabbitmq --nodes 3
//	go run ./internal/testservices/serve install
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/waybillmq/waybill/internal/testservices"
)

const usage = `usage: serve postgres [--major 15|18] [--fsync]
       serve kafka [--nodes 1|3] [--roomy]
       serve rocketmq [--slave] [--roomy]
       serve rabbitmq [--nodes 1|3] [--roomy]
       serve install             what is missing of all, and nothing else
It prints one line, the URL or the list of addresses, when the server is up, and runs until Ctrl-C.
`

// errUsage means that the arguments are wrong and usage was printed.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	major := flags.Int("major", 18, "")
	fsync := flags.Bool("fsync", false, "")
	nodes := flags.Int("nodes", 1, "")
	roomy := flags.Bool("roomy", false, "")
	slave := flags.Bool("slave", false, "")
	kind := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		kind, args = args[0], args[1:]
	}
	if flags.Parse(args) != nil { // it has printed the usage
		return errUsage
	}
	if flags.NArg() > 0 {
		kind = ""
	}
	var address string
	var err error
	switch kind {
	case "postgres":
		address, err = postgres(ctx, *major, *fsync)
	case "install":
		return testservices.Install(ctx)
	case "kafka":
		address, err = kafka(ctx, *nodes, *roomy)
	case "rocketmq":
		address, err = rocketmq(ctx, *slave, *roomy)
	case "rabbitmq":
		address, err = rabbitmq(ctx, *nodes, *roomy)
	default:
		flags.Usage()
		return errUsage
	}
	if err == nil {
		fmt.Fprintln(stdout, address)
		fmt.Fprintln(stderr, "runs until Ctrl-C")
		<-ctx.Done()
	}
	return errors.Join(err, testservices.CloseAll())
}

func postgres(ctx context.Context, major int, fsync bool) (string, error) {
	var opts []testservices.Option
	if fsync {
		opts = append(opts, testservices.Fsync())
	}
	s, err := testservices.NewPostgres(ctx, major, opts...)
	if err != nil {
		return "", err
	}
	return s.URL("postgres"), nil
}

func kafka(ctx context.Context, nodes int, roomy bool) (string, error) {
	var opts []testservices.ClusterOption
	if roomy {
		opts = append(opts, testservices.Roomy())
	}
	c, err := testservices.NewKafka(ctx, nodes, opts...)
	if err != nil {
		return "", err
	}
	return strings.Join(c.Brokers, ","), nil
}

func rocketmq(ctx context.Context, slave, roomy bool) (string, error) {
	var opts []testservices.RocketOption
	if slave {
		opts = append(opts, testservices.WithSlave())
	}
	if roomy {
		opts = append(opts, testservices.RoomyRocket())
	}
	r, err := testservices.NewRocketMQ(ctx, opts...)
	if err != nil {
		return "", err
	}
	return strings.Join(r.NameServers, ";"), nil
}

func rabbitmq(ctx context.Context, nodes int, roomy bool) (string, error) {
	opts := []testservices.RabbitOption{testservices.Plugins("rabbitmq_management")}
	if roomy {
		opts = append(opts, testservices.RabbitSetting("vm_memory_high_watermark.absolute", "4GiB"))
	}
	r, err := testservices.NewRabbitMQ(ctx, nodes, opts...)
	if err != nil {
		return "", err
	}
	return strings.Join(r.URLs(), ","), nil
}
