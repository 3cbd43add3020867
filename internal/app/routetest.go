package app

import (
	"fmt"
	"strings"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// Address is where the routes send a message. The zero Address: no route takes it.
type Address struct {
	Route       string `json:"route"`
	Destination string `json:"destination"`
	Kind        string `json:"kind"`
	Topic       string `json:"topic,omitempty"`
	Exchange    string `json:"exchange,omitempty"`    // RabbitMQ
	RoutingKey  string `json:"routing_key,omitempty"` // RabbitMQ
	CloudEvent  string `json:"cloudevent,omitempty"`  // binary or structured; empty = none
}

// String is the address for people, as "kafka-a, topic payments.captured".
func (a Address) String() string {
	switch {
	case a.Route == "":
		return "nowhere: no route takes it"
	case a.Kind == config.KindRabbitMQ:
		return fmt.Sprintf("%s, exchange %s, routing key %q", a.Destination, a.Exchange, a.RoutingKey)
	}
	return fmt.Sprintf("%s, topic %s", a.Destination, a.Topic)
}

// RouteTest is one message with where it goes.
type RouteTest struct {
	Given config.Given `json:"given"`
	Goes  Address      `json:"goes"`
	Wrong []string     `json:"wrong"` // what differs from the expectation, or cannot be; empty = nothing
}

// TestRoutes says where messages go, by the routes alone: nothing is connected to.
func TestRoutes(c *config.Config, given []config.Given) ([]RouteTest, error) {
	router, err := relay.NewRouter(relayRoutes(c))
	if err != nil {
		return nil, err
	}
	out := make([]RouteTest, len(given))
	for i, g := range given {
		m := &relay.Message{Topic: g.Topic, Key: g.Key, Type: g.Type}
		for name, value := range g.Headers {
			m.Headers = append(m.Headers, relay.Header{Name: name, Value: value})
		}
		out[i] = RouteTest{Given: g, Goes: address(c, router, m), Wrong: []string{}}
		if d := c.Destination(out[i].Goes.Destination); d != nil && d.RocketMQ.Transactional && g.Key != "" {
			out[i].Wrong = append(out[i].Wrong, fmt.Sprintf("it has a key, and %s takes none (transactional: true)", d.Name))
		}
	}
	return out, nil
}

func address(c *config.Config, router *relay.Router, m *relay.Message) (a Address) {
	r := router.Find(m)
	if r == nil {
		return a
	}
	a = Address{Route: r.Name, Destination: r.Destination, Topic: m.Target}
	if d := c.Destination(r.Destination); d != nil {
		a.Kind = d.Kind
	}
	if a.Kind == config.KindRabbitMQ {
		a.Topic, a.Exchange, a.RoutingKey = "", m.Target, m.RoutingKey
	}
	if m.Event != nil {
		a.CloudEvent = map[relay.EventMode]string{relay.EventBinary: "binary", relay.EventStructured: "structured"}[m.Event.Mode]
	}
	return a
}

// RunRouteTests runs the route tests of the configuration.
func RunRouteTests(c *config.Config) ([]RouteTest, error) {
	given := make([]config.Given, len(c.RouteTests))
	for i, t := range c.RouteTests {
		given[i] = t.Given
	}
	tests, err := TestRoutes(c, given)
	for i := range tests {
		want, got := c.RouteTests[i].Want, tests[i].Goes
		for _, f := range []struct{ name, want, got string }{{"route", want.Route, got.Route}, {"destination", want.Destination, got.Destination},
			{"topic", want.Topic, got.Topic}, {"exchange", want.Exchange, got.Exchange}, {"routing_key", want.RoutingKey, got.RoutingKey}} {
			if f.want != "" && f.want != f.got {
				tests[i].Wrong = append(tests[i].Wrong, fmt.Sprintf("%s is %q, want %q", f.name, f.got, f.want))
			}
		}
	}
	return tests, err
}

// CheckRoutes runs the route tests of the configuration and returns one sentence for each that fails.
func CheckRoutes(c *config.Config) (failed []string, err error) {
	tests, err := RunRouteTests(c)
	for i, t := range tests {
		if len(t.Wrong) > 0 {
			failed = append(failed, fmt.Sprintf("route_tests[%d] (topic %s): %s", i, t.Given.Topic, strings.Join(t.Wrong, "; ")))
		}
	}
	return failed, err
}
