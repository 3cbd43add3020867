package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
)

// demoBroker is where messages of a demonstration go.
type demoBroker interface {
	// start comes up with topics of those names, and says in a few words what it is.
	start(ctx context.Context, topics []string) (string, error)
	// destination is how the relay names it, and route completes a route that leads there. inProcess is not nil when it runs in this process.
	destination() config.Destination
	route(r *config.Route)
	inProcess() waybillbroker.Broker
	// read returns everything that lies in its topics, lane by lane in the broker's order.
	read(ctx context.Context) ([]audit.Stored, error)
	// failed receives the error that ended it, if it ends by itself; nil = never.
	failed() <-chan error
	stop() error
	name() string
}

// elsewhere is the part of a broker that runs already.
type elsewhere struct {
	prefix string // of its topics, so that demonstrations do not meet
	topics []string
}

func (*elsewhere) inProcess() waybillbroker.Broker { return nil }
func (*elsewhere) failed() <-chan error            { return nil }
func (*elsewhere) stop() error                     { return nil }

// startBrokers comes up with the bundled broker, or finds those that the options name. Each takes every so many-th topic.
func (d *demo) startBrokers(ctx context.Context) (string, error) {
	if err := d.chooseBrokers(); err != nil {
		return "", err
	}
	var said []string
	for i, b := range d.brokers {
		var topics []string
		for t := i; t < len(demoTopics); t += len(d.brokers) {
			topics = append(topics, demoTopics[t])
		}
		text, err := b.start(ctx, topics)
		if err != nil {
			return "", err
		}
		said = append(said, text)
	}
	return strings.Join(said, "; "), nil
}

func (d *demo) chooseBrokers() error {
	there := elsewhere{prefix: "waybill-demo-" + d.outbox[:8] + "."}
	if len(d.Kafka) > 0 {
		d.brokers = append(d.brokers, &demoKafka{elsewhere: there, brokers: d.Kafka})
	}
	if len(d.RocketMQ) > 0 {
		d.brokers = append(d.brokers, &demoRocketMQ{elsewhere: there, nameServers: d.RocketMQ})
	}
	if d.RabbitMQ != "" {
		b, err := parseRabbitMQ(d.RabbitMQ, there.prefix)
		if err != nil {
			return err
		}
		d.brokers = append(d.brokers, b)
	}
	if len(d.brokers) > 0 {
		return nil
	}
	dir, err := d.place()
	if err != nil {
		return err
	}
	d.brokers = []demoBroker{newDemoBundled(filepath.Join(dir, "broker"))}
	return os.MkdirAll(dir, 0o755)
}

// inProcess is the bundled broker, which is never beside another; nil when there is none.
func (d *demo) inProcess() waybillbroker.Broker { return d.brokers[0].inProcess() }

func (d *demo) names() string {
	var names []string
	for _, b := range d.brokers {
		names = append(names, b.name())
	}
	return strings.Join(names, " and ")
}
