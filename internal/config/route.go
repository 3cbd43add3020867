package config

// Route maps topics to one destination.
type Route struct {
	Name   string `key:"name" required:"true" form:"name" help:"shown wherever the route is"`
	Match  Match  `key:"match" help:"what it takes; {} = everything"`
	To     To     `key:"to" required:"true" help:"where it goes"`
	Retry  Retry  `key:"retry" help:"any key of retry, for this route"`
	OnDead string `key:"on_dead" enum:"block|skip" help:"as on_dead, for this route"`
}

// Match says which messages a route takes. Everything given must match.
type Match struct {
	Topic   string              `key:"topic" help:"* = any run of characters"`
	Headers map[string]OneOrAny `key:"headers" help:"header name to its value, or to a list of which one must match"`
}

// OneOrAny is one value, or several of which one must match.
type OneOrAny []string

// To says where a route leads.
type To struct {
	Destination string `key:"destination" required:"true" help:"name of one destination; for several, publish once for each"`
	Topic       string `key:"topic" help:"topic at the destination; {topic} {key} {type} {header.NAME} stand for the message's own"`
}

// RouteTest is an example of what the routes do.
type RouteTest struct {
	Given Given `key:"given" required:"true" help:"a message"`
	Want  Want  `key:"want" required:"true" help:"where it must go; what is left out is not compared"`
}

// Given is the message of a RouteTest.
type Given struct {
	Topic   string            `key:"topic" required:"true" help:"its topic"`
	Type    string            `key:"type" help:"its type"`
	Headers map[string]string `key:"headers" help:"its headers"`
}

// Want is the expectation of a RouteTest.
type Want struct {
	Route       string `key:"route" help:"name of the route"`
	Destination string `key:"destination" help:"name of the destination"`
	Topic       string `key:"topic" help:"topic at the destination"`
}

func (r *Route) inherit(c *Config) {
	r.Retry, r.OnDead = c.Retry, c.OnDead
	r.Match.Topic, r.To.Topic = "*", "{topic}"
}
