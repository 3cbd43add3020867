package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waybillmq/waybill/adapters/rocketmq"
	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// hooks are what a publisher asks of the relay that sends through it. The zero hooks are for one that only asks its broker questions.
type hooks struct {
	trusted      func() bool        // whether the lease is still trusted; nil = always
	lanesChanged func(topic string) // nil = nobody wants to know
	// receipts are the places under which a message is marked sent, for a broker that asks about a copy; nil = always none.
	receipts func(ctx context.Context, id relay.ID, messageID string) ([]relay.Position, error)
	log      *slog.Logger // for client libraries that write one; nil = nowhere
}

// describe is the engine's description of a destination that is reached through a network, but for its name and what follows its opening.
func describe(c *config.Config, d *config.Destination, h hooks) relay.Destination {
	switch d.Kind {
	case config.KindKafka:
		return describeKafka(c, d, h)
	case config.KindRocketMQ:
		return describeRocketMQ(c, d, h)
	case config.KindRabbitMQ:
		return describeRabbitMQ(c, d, h)
	}
	panic("internal/app: kind " + d.Kind + " of a destination that was validated") // one kind that is configured and not built in: ours to mend
}

// destination is the engine's description of any destination.
func (e *engine) destination(d *config.Destination, b waybillbroker.Broker) (to relay.Destination) {
	h := hooks{trusted: func() bool { return e.relay.Trusted() }, lanesChanged: func(string) { e.relay.LanesChanged(d.Name) }, log: e.log,
		receipts: func(ctx context.Context, id relay.ID, messageID string) ([]relay.Position, error) {
			places, err := e.store.Places(ctx, id, messageID)
			return positionsAt(d.Name, places), err
		}}
	if d.Kind == config.KindWaybillBroker {
		to = describeBundled(e.store, b, h)
	} else {
		to = describe(e.config, d, h)
	}
	to.Name = d.Name
	to.Opened = func(p relay.Publisher) error { return e.opened(d, p) }
	return to
}

// positionsAt are the places of a message as its destination knows them: one elsewhere has no offset.
func positionsAt(destination string, places []relay.Place) (all []relay.Position) {
	for _, p := range places {
		at := relay.Position{Offset: p.Offset, HasOffset: p.HasOffset}
		if p.Destination != destination {
			at = relay.Position{}
		}
		all = append(all, at)
	}
	return all
}

// sameCluster compares two cluster ids of a kind whose id names brokers too; nil = the id is the cluster.
func sameCluster(kind string) func(a, b string) bool {
	if kind == config.KindRocketMQ {
		return rocketmq.SameCluster
	}
	return nil
}

// targetTopics lists the topics that routes name at a destination; nil when one is computed from the message.
func targetTopics(c *config.Config, destination string) []string {
	topics := []string{}
	for _, r := range relayRoutes(c) {
		if r.Destination != destination {
			continue
		}
		if strings.Contains(r.Target, "{") {
			return nil
		}
		m := relay.Message{}
		r.Topic, r.Headers = "", nil
		if router, err := relay.NewRouter([]relay.Route{r}); err == nil { // replaces what the route replaces
			router.Find(&m)
			topics = append(topics, m.Target)
		}
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

// checkLimit bounds the check of one destination.
const checkLimit = 10 * time.Second

// CheckDestinations asks every destination, all at once, whether it can be reached and is configured to keep its promise. It changes nothing.
func CheckDestinations(ctx context.Context, c *config.Config) map[string]relay.Findings {
	answers := make([]relay.Findings, len(c.Destinations))
	var wg sync.WaitGroup
	for i := range c.Destinations {
		wg.Go(func() { answers[i] = askDestination(ctx, c, &c.Destinations[i]) })
	}
	wg.Wait()
	out := map[string]relay.Findings{}
	for i := range c.Destinations {
		out[c.Destinations[i].Name] = answers[i]
	}
	return out
}

func askDestination(ctx context.Context, c *config.Config, d *config.Destination) relay.Findings {
	found, err := checkDestination(ctx, c, d)
	switch {
	case err == nil:
	case d.Kind == config.KindWaybillBroker:
		found.Items = append(found.Items, relay.Finding{ID: "waybillbroker.folder", Level: relay.LevelFail, Subject: c.Broker.Dir, Text: err.Error(), Fix: "correct broker.dir"})
	default:
		found.Items = append(found.Items, relay.Finding{ID: d.Kind + ".reachable", Level: relay.LevelFail, Subject: strings.Join(d.Servers(), ","),
			Text: err.Error(), Fix: fmt.Sprintf("correct destinations.%s, or start the broker", d.Name)})
	}
	return found
}

func checkDestination(ctx context.Context, c *config.Config, d *config.Destination) (found relay.Findings, err error) {
	if d.Kind == config.KindWaybillBroker {
		return checkBundled(c)
	}
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	p, err := describe(c, d, hooks{}).New()
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, p.Close(context.WithoutCancel(ctx))) }()
	return p.Check(ctx)
}
