package app

import (
	"context"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
)

// demoBroker is where a demonstration's messages go.
type demoBroker interface {
	// start comes up with the demonstration's topics, and says in a few words what it is.
	start(ctx context.Context) (string, error)
	// destination and topic are how the relay names it; inProcess is not nil when it runs in this process.
	destination() config.Destination
	topic() string // a template of the name that an application's topic has there
	inProcess() waybillbroker.Broker
	// read returns everything that lies there, partition by partition in offset order.
	read(ctx context.Context) ([]audit.Stored, error)
	// failed receives the error that ended it, if it ends by itself; nil = never.
	failed() <-chan error
	stop() error
	name() string
}
