package app

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/waybillmq/waybill/adapters/rabbitmq"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// relayRoutes gives the engine the configured routes.
func relayRoutes(c *config.Config) []relay.Route {
	routes := make([]relay.Route, len(c.Routes))
	for i, r := range c.Routes {
		headers := map[string][]string{}
		for name, values := range r.Match.Headers {
			headers[name] = values
		}
		routes[i] = relay.Route{Name: r.Name, Topic: r.Match.Topic, Headers: headers, Destination: r.To.Destination, Target: r.To.Topic,
			CloudEvents: cloudEvents(r.CloudEvents), Retry: relayRetry(r.Retry), SkipDead: r.OnDead == "skip"}
		routes[i].Replace, _ = config.Replacements(r.TopicReplace) // it was validated
		if d := c.Destination(r.To.Destination); d != nil && d.Kind == config.KindRabbitMQ {
			routes[i].Target = cmp.Or(r.To.Exchange, rabbitmq.DefaultExchange)
			routes[i].RoutingKey = cmp.Or(r.To.RoutingKey, "{topic}")
		}
	}
	return routes
}

func cloudEvents(e config.CloudEvents) *relay.CloudEvents {
	modes := map[string]relay.EventMode{"binary": relay.EventBinary, "structured": relay.EventStructured}
	mode, ok := modes[e.Mode]
	if !ok {
		return nil
	}
	return &relay.CloudEvents{Mode: mode, Source: e.Source, Type: e.Type, Prefix: e.Prefix}
}

// relayRetry turns none into the largest number: the engine knows no other word for it.
func relayRetry(r config.Retry) relay.Retry {
	out := relay.Retry{Initial: r.Initial, Cap: r.Cap, MaxAttempts: math.MaxInt32, MaxAge: time.Duration(math.MaxInt64)}
	if n, ok := r.MaxAttempts.Get(); ok {
		out.MaxAttempts = int(n)
	}
	if age, ok := r.MaxAge.Get(); ok {
		out.MaxAge = age
	}
	return out
}

// routed says where a topic leads as far as topic, key and type tell; header values are not shown to people.
func routed(c *config.Config, m *relay.MessageInfo) *Routed {
	all := relayRoutes(c)
	var takes []relay.Route // routes whose topic pattern takes it
	for _, r := range all {
		without := r
		without.Headers = nil
		router, err := relay.NewRouter([]relay.Route{without})
		if err != nil {
			return nil
		}
		if got := router.Find(&relay.Message{Topic: m.Topic, Key: m.Key, Type: m.Type}); got != nil {
			takes = append(takes, r)
			if len(r.Headers) == 0 {
				break
			}
		}
	}
	if len(takes) == 0 {
		return &Routed{Nearest: nearestRoute(all, m.Topic), Certain: true}
	}
	last := takes[len(takes)-1]
	return &Routed{Route: last.Name, Destination: last.Destination, Certain: len(takes) == 1 && len(last.Headers) == 0}
}

// nearestRoute names the route whose pattern shares the longest beginning with the topic.
func nearestRoute(routes []relay.Route, topic string) string {
	best, most := "", 0
	for _, r := range routes {
		n := 0
		for n < min(len(r.Topic), len(topic)) && r.Topic[n] == topic[n] {
			n++
		}
		if n > most {
			best, most = fmt.Sprintf("%q (topic %q does not match)", r.Name, r.Topic), n
		}
	}
	return best
}
