package app

import (
	"context"
	"io"

	"github.com/waybillmq/waybill/internal/bench"
)

// BenchOptions say what `waybill bench` measures.
type BenchOptions = bench.Options

// BenchFigure is one figure with its rounds.
type BenchFigure = bench.Figure

// BenchStore measures the relay without a broker.
func BenchStore(ctx context.Context, o BenchOptions) ([]BenchFigure, error) {
	return bench.Store(ctx, o)
}

// BenchDrain measures the whole relay, to a real Kafka.
func BenchDrain(ctx context.Context, o BenchOptions) ([]BenchFigure, error) {
	return bench.Drain(ctx, o)
}

// BenchQueues measures the whole relay, to a RocketMQ or a RabbitMQ.
func BenchQueues(ctx context.Context, o BenchOptions) ([]BenchFigure, error) {
	return bench.Queues(ctx, o)
}

// BenchBroker measures the bundled broker, alone and behind the relay.
func BenchBroker(ctx context.Context, o BenchOptions) ([]BenchFigure, error) {
	return bench.Broker(ctx, o)
}

// BenchWork is the other side of BenchOptions.Worker.
func BenchWork(ctx context.Context, in io.Reader, out io.Writer) error {
	return bench.Work(ctx, in, out)
}

// WriteBenchTable prints figures for a person, WriteBenchJSON one object a line.
func WriteBenchTable(w io.Writer, figures []BenchFigure) error { return bench.WriteTable(w, figures) }

// WriteBenchJSON prints one object a line.
func WriteBenchJSON(w io.Writer, figures []BenchFigure) error { return bench.WriteJSON(w, figures) }

// WriteBenchGo prints the format of Go benchmarks, one line a round.
func WriteBenchGo(w io.Writer, figures []BenchFigure) error { return bench.WriteGo(w, figures) }
