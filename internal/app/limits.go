package app

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/adapters/rabbitmq"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// limitSource names the rows of outbox.limits that are the relay's.
const limitSource = "broker"

// brokers asks the brokers for their settings, and tells outbox.publish how large a message of each topic may be.
func (c *chores) brokers(ctx context.Context) error {
	checked, failed := c.e.checkBrokers(ctx)
	if !c.e.config.Relay.WriteLimits || len(checked) == 0 {
		return failed
	}
	before, err := c.e.store.Limits(ctx, limitSource)
	if err != nil {
		return errors.Join(failed, err)
	}
	topics, err := limitsByTopic(c.e.config, c.tel.Topics(), checked, before)
	if err == nil && len(topics) > 0 {
		err = c.e.store.SetLimits(ctx, topics, limitSource)
	}
	return errors.Join(failed, err)
}

// limitsByTopic is how large a message of an application's topic may be, for every topic that is known by name: those that a route names, those that are named
// like their target, those that something was sent to, and those that had a limit before. Where a broker did not answer, its topics keep what they had.
func limitsByTopic(c *config.Config, sent []string, checked map[string]relay.Findings, before map[string]int) (map[string]int, error) {
	routes := relayRoutes(c)
	router, err := relay.NewRouter(routes)
	if err != nil {
		return nil, err
	}
	topics := slices.Concat(sent, slices.Collect(maps.Keys(before)))
	for _, r := range routes {
		if r.Topic != "" && !strings.Contains(r.Topic, "*") {
			topics = append(topics, r.Topic)
		}
	}
	for _, found := range checked {
		topics = append(topics, slices.Collect(maps.Keys(found.Limits))...)
	}
	limits := map[string]int{}
	for _, topic := range topics {
		m := relay.Message{Topic: topic}
		route := router.Find(&m)
		if route == nil {
			continue
		}
		found, answered := checked[route.Destination]
		limit, known := found.Limits[targetOf(c, route, &m)]
		switch {
		case !answered:
			limit = before[topic]
		case !known:
			limit = found.Limit
		}
		if limit > 0 {
			limits[topic] = limit
		}
	}
	return limits, nil
}

// targetOf is what a routed message's target is called in the findings of its destination: behind RabbitMQ's default exchange it is the queue.
func targetOf(c *config.Config, route *relay.Route, m *relay.Message) string {
	if d := c.Destination(route.Destination); d != nil && d.Kind == config.KindRabbitMQ && m.Target == rabbitmq.DefaultExchange {
		return m.RoutingKey
	}
	return m.Target
}
