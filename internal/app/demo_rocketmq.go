package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/waybillmq/waybill/adapters/rocketmq"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// demoRocketMQ is a RocketMQ cluster that runs already.
type demoRocketMQ struct {
	elsewhere
	nameServers []string
}

// noDots makes a name that RocketMQ takes.
var noDots = strings.NewReplacer(".", "_")

func (d *demoRocketMQ) config() rocketmq.Config {
	c := rocketmq.DefaultConfig()
	c.NameServers = d.nameServers
	return c
}

func (d *demoRocketMQ) start(ctx context.Context, topics []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	d.topics = topics
	var names []string
	for _, t := range topics {
		names = append(names, noDots.Replace(d.prefix+t))
	}
	if err := rocketmq.CreateTopics(ctx, d.config(), names, demoPartitions); err != nil {
		return "", fmt.Errorf("make topics at %v: %w; start a RocketMQ or correct --rocketmq", d.nameServers, err)
	}
	return fmt.Sprintf("rocketmq, %d topics %s…", len(topics), noDots.Replace(d.prefix)), nil
}

func (d *demoRocketMQ) destination() config.Destination {
	to := config.NewDestination("rocketmq", config.KindRocketMQ)
	to.RocketMQ.NameServers = d.nameServers
	return to
}

func (d *demoRocketMQ) route(r *config.Route) {
	r.To.Topic, r.TopicReplace = d.prefix+"{topic}", ".=_"
}

func (d *demoRocketMQ) name() string { return strings.Join(d.nameServers, ",") }

func (d *demoRocketMQ) read(ctx context.Context) (stored []audit.Stored, err error) {
	for _, topic := range d.topics {
		target := noDots.Replace(d.prefix + topic)
		err := rocketmq.ReadAll(ctx, d.config(), target, func(r rocketmq.Record) error {
			m, err := r.Message(target)
			stored = append(stored, storedAt(relay.Lane{Topic: target, Index: r.Lane}, r.Offset, m.MessageID, m.ID.String(), topic, []byte(m.Key), m.Payload))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return stored, nil
}
