package app

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// kafkaConfig maps a destination of kind kafka. Trust and OnLanesChanged are the relay's to set.
func kafkaConfig(c *config.Config, d *config.Destination) kafka.Config {
	k := kafka.DefaultConfig()
	k.Brokers, k.ClientID, k.Topics = d.Brokers, "waybill/"+c.Name, targetTopics(c, d.Name)
	k.Idempotence, k.Partitioner = d.Idempotence, kafka.Partitioner(d.Partitioner)
	k.Batch = kafka.Batch{MaxMessages: d.Batch.MaxMessages, MaxBytes: int(d.Batch.MaxBytes)}
	k.Timeouts = kafka.Timeouts{Connect: d.Timeouts.Connect, Broker: d.Timeouts.Broker, Publish: d.Timeouts.Publish}
	k.WriteTimeout, k.TCPUserTimeout = c.Relay.WriteTimeout, c.Relay.TCPUserTimeout
	return k
}

// targetTopics lists the topics that routes name at a destination; nil when one is computed from the message.
func targetTopics(c *config.Config, destination string) []string {
	topics := []string{}
	for _, r := range c.Routes {
		if r.To.Destination != destination {
			continue
		}
		if strings.Contains(r.To.Topic, "{") {
			return nil
		}
		topics = append(topics, r.To.Topic)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// checkLimit bounds the check of one destination.
const checkLimit = 10 * time.Second

// CheckDestinations asks every destination whether it can be reached and is configured to keep its promise. It changes nothing.
func CheckDestinations(ctx context.Context, c *config.Config) map[string]relay.Findings {
	out := map[string]relay.Findings{}
	for i := range c.Destinations {
		d := &c.Destinations[i]
		found, err := checkDestination(ctx, kafkaConfig(c, d))
		if err != nil {
			found.Items = append(found.Items, relay.Finding{ID: "kafka.reachable", Level: relay.LevelFail, Subject: strings.Join(d.Brokers, ","),
				Text: err.Error(), Fix: "correct destinations." + d.Name + ".brokers, or start the broker"})
		}
		out[d.Name] = found
	}
	return out
}

func checkDestination(ctx context.Context, k kafka.Config) (found relay.Findings, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	p, err := kafka.New(k)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, p.Close(context.WithoutCancel(ctx))) }()
	return p.Check(ctx)
}
