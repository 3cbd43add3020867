package app

import (
	"fmt"
	"math"
	"strings"
	"time"

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
			Retry: relayRetry(r.Retry), SkipDead: r.OnDead == "skip"}
	}
	return routes
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

// CheckRoutes runs the route tests of the configuration and returns one sentence for each that fails.
func CheckRoutes(c *config.Config) ([]string, error) {
	router, err := relay.NewRouter(relayRoutes(c))
	if err != nil {
		return nil, err
	}
	var failed []string
	for i, t := range c.RouteTests {
		m := &relay.Message{Topic: t.Given.Topic, Type: t.Given.Type}
		for name, value := range t.Given.Headers {
			m.Headers = append(m.Headers, relay.Header{Name: name, Value: value})
		}
		got := config.Want{}
		if r := router.Find(m); r != nil {
			got = config.Want{Route: r.Name, Destination: r.Destination, Topic: m.Target}
		}
		var wrong []string
		for _, f := range []struct{ name, want, got string }{{"route", t.Want.Route, got.Route}, {"destination", t.Want.Destination, got.Destination}, {"topic", t.Want.Topic, got.Topic}} {
			if f.want != "" && f.want != f.got {
				wrong = append(wrong, fmt.Sprintf("%s is %q, want %q", f.name, f.got, f.want))
			}
		}
		if len(wrong) > 0 {
			failed = append(failed, fmt.Sprintf("route_tests[%d] (topic %s): %s", i, t.Given.Topic, strings.Join(wrong, "; ")))
		}
	}
	return failed, nil
}
