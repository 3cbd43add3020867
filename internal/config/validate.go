package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// validate checks what one key alone cannot show. It runs also after other problems, so that all are reported at once.
func (d *decoder) validate() {
	d.validateLease()
	c := d.root
	if c.Relay.Poll.Busy > c.Relay.Poll.Idle {
		d.at("relay.poll.busy", "%s is above relay.poll.idle, %s", scalarText(c.Relay.Poll.Busy), scalarText(c.Relay.Poll.Idle))
	}
	if c.Breaker.ProbeInitial > c.Breaker.ProbeCap {
		d.at("breaker.probe_initial", "%s is above breaker.probe_cap, %s", scalarText(c.Breaker.ProbeInitial), scalarText(c.Breaker.ProbeCap))
	}
	d.validateRetry("retry", c.Retry)
	for i := range c.Destinations {
		d.validateDestination(&c.Destinations[i])
	}
	d.validateBroker()
	d.validatePrivacy()
	d.validateDashboard()
	d.validateAlerts()
	d.validateRoutes()
}

// validateBroker checks what the bundled broker is to do.
func (d *decoder) validateBroker() {
	b := d.root.Broker
	if !b.Enabled {
		return
	}
	if b.Dir == "" {
		d.at("broker.dir", "name a folder")
	}
	if !slices.ContainsFunc(d.root.Destinations, func(x Destination) bool { return x.Kind == KindWaybillBroker }) {
		d.warn("broker.enabled", "no destination has kind waybillbroker: nothing is sent to it")
	}
}

// validateLease checks the sums on which it rests that an owner that lost its lease has fallen silent before the next one speaks.
func (d *decoder) validateLease() {
	r := d.root.Relay
	bytesOut := r.WriteTimeout + r.TCPUserTimeout // until the last byte of a write has left, or never leaves
	renew, trust := r.Lease/6, r.Lease-bytesOut
	switch {
	case 2*r.Lease < 3*bytesOut:
		d.at("relay.lease", "%s is too short: it must be at least 1.5 × (write_timeout + tcp_user_timeout) = %s", scalarText(r.Lease), scalarText(bytesOut+bytesOut/2))
	case 2*renew > trust:
		d.at("relay.lease", "%s is too short: a renewal every %s leaves no room inside the %s for which the owner trusts it", scalarText(r.Lease), renew, trust)
	}
	if r.Quarantine < bytesOut {
		d.at("relay.quarantine", "%s is too short: it must be at least write_timeout + tcp_user_timeout = %s", scalarText(r.Quarantine), scalarText(bytesOut))
	}
}

func (d *decoder) validateRetry(path string, r Retry) {
	if r.Initial > r.Cap {
		d.at(path+".initial", "%s is above cap, %s", scalarText(r.Initial), scalarText(r.Cap))
	}
	if age, ok := r.MaxAge.Get(); ok && age < r.Initial {
		d.at(path+".max_age", "%s is below initial, %s", scalarText(age), scalarText(r.Initial))
	}
}

// maxTopicPattern is the longest topic; a longer pattern is a mistake.
const maxTopicPattern = 249

func (d *decoder) validateRoutes() {
	c := d.root
	var names []string
	for _, dest := range c.Destinations {
		names = append(names, dest.Name)
	}
	seen, used, last := map[string]bool{}, map[string]bool{}, -1
	for i, r := range c.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		if r.Name != "" && seen[r.Name] {
			d.at(path+".name", "%q is the name of another route", r.Name)
		}
		seen[r.Name], used[r.To.Destination] = true, true
		if r.To.Destination != "" && !slices.Contains(names, r.To.Destination) {
			d.at(path+".to.destination", "there is no destination %q%s", r.To.Destination, didYouMean(r.To.Destination, names))
		}
		d.validateTo(path+".to", r.To)
		d.validateEvents(path+".cloudevents", r.CloudEvents)
		if n := len(r.Match.Topic); n < 1 || n > maxTopicPattern {
			d.at(path+".match.topic", "a pattern has 1 to %d bytes; write \"*\" for every topic", maxTopicPattern)
			return
		}
		if _, given := d.origins[path+".retry"]; given {
			d.validateRetry(path+".retry", r.Retry)
		}
		if last >= 0 {
			d.warn(path, "is never reached: route %q before it matches everything", c.Routes[last].Name)
		} else if r.Match.Topic == "*" && len(r.Match.Headers) == 0 {
			last = i
		}
	}
	if last < 0 && len(c.Routes) > 0 {
		d.warn(fmt.Sprintf("routes[%d]", len(c.Routes)-1), "the last route does not match everything: messages of other topics wait with no_route")
	}
	for _, name := range names {
		if !used[name] && len(c.Routes) > 0 {
			d.warn("destinations."+name, "no route leads here")
		}
	}
	d.validateSplits()
}

// validateTo checks the address of a route: which of its keys there are depends on the kind of the destination.
func (d *decoder) validateTo(path string, to To) {
	for _, t := range []struct{ key, text string }{{"topic", to.Topic}, {"exchange", to.Exchange}, {"routing_key", to.RoutingKey}} {
		if text := checkTemplate(t.text); text != "" && (t.text != "" || t.key == "topic") {
			d.at(join(path, t.key), "%s", text)
		}
	}
	i := slices.IndexFunc(d.root.Destinations, func(x Destination) bool { return x.Name == to.Destination })
	if i < 0 {
		return
	}
	switch rabbit := d.root.Destinations[i].Kind == KindRabbitMQ; {
	case rabbit && to.Topic != "{topic}":
		d.at(join(path, "topic"), "%s is a RabbitMQ, which has no topics: write exchange and routing_key", to.Destination)
	case !rabbit && to.Exchange != "":
		d.at(join(path, "exchange"), "%s is no RabbitMQ: write topic", to.Destination)
	case !rabbit && to.RoutingKey != "":
		d.at(join(path, "routing_key"), "%s is no RabbitMQ: write topic", to.Destination)
	}
}

func (d *decoder) validateEvents(path string, e CloudEvents) {
	for _, t := range []struct{ key, text string }{{"source", e.Source}, {"type", e.Type}} {
		if text := checkTemplate(t.text); text != "" && (t.text != "" || t.key == "type") {
			d.at(join(path, t.key), "%s", text)
		}
	}
	switch {
	case e.Mode == "none" && e.Source != "":
		d.at(join(path, "mode"), "is none, so source is not used: choose binary or structured")
	case e.Mode != "none" && e.Source == "":
		d.at(join(path, "source"), "is missing: a CloudEvent says where it comes from, such as /shop/payments")
	case e.Mode == "structured" && e.Prefix != "":
		d.at(join(path, "prefix"), "is for binary: a structured event has no headers")
	}
}

// validateSplits warns where a header decides between two destinations for one topic: the messages of one key then have two orders.
func (d *decoder) validateSplits() {
	routes := d.root.Routes
	for i, a := range routes {
		for _, b := range routes[i+1:] {
			if len(a.Match.Headers) > 0 && a.To.Destination != b.To.Destination && globsMeet(a.Match.Topic, b.Match.Topic) {
				d.warn(fmt.Sprintf("routes[%d].match.headers", i), "headers can send messages of one key to %q and to %q (route %q): their order holds inside each, not between them",
					a.To.Destination, b.To.Destination, b.Name)
				break
			}
		}
	}
}

// checkTemplate says what is wrong with a topic template; "" = nothing.
func checkTemplate(s string) string {
	if s == "" {
		return "is empty; write \"{topic}\" for the message's own"
	}
	for rest := s; rest != ""; {
		open := strings.IndexAny(rest, "{}")
		if open < 0 {
			return ""
		}
		end := strings.IndexByte(rest, '}')
		if rest[open] == '}' || end < 0 {
			return fmt.Sprintf("%q has a brace without its partner", s)
		}
		name := rest[open+1 : end]
		header, isHeader := strings.CutPrefix(name, "header.")
		if name != "topic" && name != "key" && name != "type" && (!isHeader || header == "" || strings.Contains(header, "{")) {
			return fmt.Sprintf("%q: {%s} stands for nothing; there are {topic}, {key}, {type} and {header.NAME}", s, name)
		}
		rest = rest[end+1:]
	}
	return ""
}

// globsMeet says whether some text matches both patterns, in which * is any run of characters.
func globsMeet(a, b string) bool {
	row := make([]bool, len(b)+1) // row[j]: what is left of a (from i) and of b (from j) meet
	for i := len(a); i >= 0; i-- {
		next := make([]bool, len(b)+1)
		for j := len(b); j >= 0; j-- {
			starA, starB := i < len(a) && a[i] == '*', j < len(b) && b[j] == '*'
			next[j] = i == len(a) && j == len(b) ||
				starA && row[j] || starB && next[min(j+1, len(b))] && j < len(b) ||
				starA && j < len(b) && next[j+1] || starB && i < len(a) && row[j] ||
				i < len(a) && j < len(b) && a[i] == b[j] && row[j+1]
		}
		row = next
	}
	return row[0]
}

// at reports a problem at the place of a key, or of the nearest one above it that was given.
func (d *decoder) at(path, format string, args ...any) {
	d.add(d.place(path), path, false, fmt.Sprintf(format, args...))
}

func (d *decoder) warn(path, format string, args ...any) {
	d.add(d.place(path), path, true, fmt.Sprintf(format, args...))
}

func (d *decoder) place(path string) *yaml.Node {
	for p := path; p != ""; {
		if o, ok := d.origins[p]; ok {
			n := &yaml.Node{Line: o.Line, Column: o.Column}
			if o.Env != "" {
				d.fromEnv[n] = o.Env
			}
			return n
		}
		p = p[:max(0, strings.LastIndexAny(p, ".["))]
	}
	return &yaml.Node{Line: 1, Column: 1}
}
