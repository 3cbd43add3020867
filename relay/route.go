package relay

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/internal/glob"
)

// Route maps messages to exactly one destination. The first route that matches wins.
type Route struct {
	Name        string
	Topic       string              // pattern of the topic, * = any run of characters; empty = every topic
	Headers     map[string][]string // each named header must have one of the values
	Destination string
	Target      string   // topic or exchange at the destination: a template of {topic} {key} {type} {header.NAME}; empty = {topic}
	Replace     []string // old, new, old, new, … texts that are replaced in the target, for a broker whose names have no dots; nil = none
	RoutingKey  string   // a template like Target, for a broker that routes by one; empty = none
	CloudEvents *CloudEvents
	Retry       Retry
	SkipDead    bool // on_dead: skip: later messages of a key go on past its dead one
}

// Router finds the route of a message. It is compiled once and safe for concurrent use.
type Router struct{ routes []compiledRoute }

type compiledRoute struct {
	Route
	topic              glob.Pattern
	target, routingKey template
	replace            *strings.Replacer // nil = nothing
	event              *Event
}

// NewRouter compiles routes.
func NewRouter(routes []Route) (*Router, error) {
	r := &Router{}
	for _, route := range routes {
		c, err := route.compile()
		if err != nil {
			return nil, fmt.Errorf("relay: route %q: %w", route.Name, err)
		}
		r.routes = append(r.routes, c)
	}
	return r, nil
}

func (r *Route) compile() (c compiledRoute, err error) {
	c = compiledRoute{Route: *r, topic: glob.Parse(cmp.Or(r.Topic, "*"))}
	if c.target, err = parseTemplate(r.Target); err != nil {
		return c, err
	}
	if r.RoutingKey != "" {
		if c.routingKey, err = parseTemplate(r.RoutingKey); err != nil {
			return c, err
		}
	}
	if len(r.Replace) > 0 {
		if len(r.Replace)%2 != 0 {
			return c, fmt.Errorf("replace %q is not made of pairs, old and new", r.Replace)
		}
		c.replace = strings.NewReplacer(r.Replace...)
	}
	c.event, err = newEvent(r.CloudEvents)
	return c, err
}

// Find returns the route of a message, nil when no route matches, and writes into the message where it goes: Target, RoutingKey and Event.
func (r *Router) Find(m *Message) *Route {
	for i := range r.routes {
		c := &r.routes[i]
		if !c.topic.Match(m.Topic) || !matchHeaders(c.Headers, m) {
			continue
		}
		m.Target, m.Event, m.RoutingKey = c.target.expand(m), c.event, ""
		if c.replace != nil {
			m.Target = c.replace.Replace(m.Target)
		}
		if c.routingKey != nil {
			m.RoutingKey = c.routingKey.expand(m)
		}
		return &c.Route
	}
	return nil
}

func matchHeaders(want map[string][]string, m *Message) bool {
	for name, values := range want {
		if !slices.Contains(values, header(m, name)) {
			return false
		}
	}
	return true
}

func header(m *Message, name string) string {
	for i := range m.Headers {
		if m.Headers[i].Name == name {
			return m.Headers[i].Value
		}
	}
	return ""
}

// template is literal text and fields in turn: text, field, text, field, …, text.
type template []string

const identity = "topic"

func parseTemplate(s string) (template, error) {
	if s == "" {
		s = "{topic}"
	}
	var t template
	for {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			return append(t, s), nil
		}
		j := strings.IndexByte(s[i:], '}')
		if j < 0 {
			return nil, fmt.Errorf("template %q: { without }", s)
		}
		field := s[i+1 : i+j]
		if name, isHeader := strings.CutPrefix(field, "header."); !slices.Contains([]string{identity, "key", "type"}, field) && (!isHeader || name == "") {
			return nil, fmt.Errorf("template field {%s} is unknown; use {topic} {key} {type} {header.NAME}", field)
		}
		t = append(t, s[:i], field)
		s = s[i+j+1:]
	}
}

func (t template) expand(m *Message) string {
	if len(t) == 1 {
		return t[0]
	}
	if len(t) == 3 && t[1] == identity && t[0] == "" && t[2] == "" {
		return m.Topic
	}
	var b strings.Builder
	for i, s := range t {
		if i%2 == 1 {
			s = value(m, s)
		}
		b.WriteString(s)
	}
	return b.String()
}

func value(m *Message, field string) string {
	switch field {
	case identity:
		return m.Topic
	case "key":
		return m.Key
	case "type":
		return m.Type
	}
	return header(m, strings.TrimPrefix(field, "header."))
}
