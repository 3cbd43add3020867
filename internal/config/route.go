package config

// Route maps topics to one destination.
type Route struct {
	Name         string      `key:"name" required:"true" form:"name" help:"shown wherever the route is"`
	Match        Match       `key:"match" help:"what it takes; {} = everything"`
	To           To          `key:"to" required:"true" help:"where it goes"`
	TopicReplace string      `key:"topic_replace" null:"true" form:"replace" help:".=_ replaces each dot of the topic at the destination by an underscore; more pairs may follow, behind commas. RocketMQ's names have no dots"`
	CloudEvents  CloudEvents `key:"cloudevents" help:"messages are written as CloudEvents 1.0"`
	Retry        Retry       `key:"retry" help:"any key of retry, for this route"`
	OnDead       string      `key:"on_dead" enum:"block|skip" help:"as on_dead, for this route"`
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
	Exchange    string `key:"exchange" null:"true" help:"at RabbitMQ, instead of topic; with the same fields. null: the default exchange, where the routing key names a queue"`
	RoutingKey  string `key:"routing_key" null:"true" help:"at RabbitMQ; with the same fields. null: {topic}"`
}

// CloudEvents says how messages of a route are written as CloudEvents.
type CloudEvents struct {
	Mode   string `key:"mode" enum:"none|binary|structured" help:"binary: attributes are headers; structured: attributes and payload are one JSON document"`
	Source string `key:"source" null:"true" help:"attribute source, a URI reference such as /shop/payments; required but for none; with the fields of to.topic"`
	Type   string `key:"type" help:"attribute type, with the same fields; where it gives nothing, the topic"`
	Prefix string `key:"prefix" null:"true" help:"of header names in binary mode; null: ce_ for kafka, ce- for rabbitmq, CE_ for rocketmq"`
}

// RouteTest is an example of what the routes do.
type RouteTest struct {
	Given Given `key:"given" required:"true" help:"a message"`
	Want  Want  `key:"want" required:"true" help:"where it must go; what is left out is not compared"`
}

// Given is the message of a RouteTest.
type Given struct {
	Topic   string            `key:"topic" json:"topic" required:"true" help:"its topic"`
	Key     string            `key:"key" json:"key,omitempty" help:"its key"`
	Type    string            `key:"type" json:"type,omitempty" help:"its type"`
	Headers map[string]string `key:"headers" json:"headers,omitempty" help:"its headers"`
}

// Want is the expectation of a RouteTest.
type Want struct {
	Route       string `key:"route" help:"name of the route"`
	Destination string `key:"destination" help:"name of the destination"`
	Topic       string `key:"topic" help:"topic at the destination"`
	Exchange    string `key:"exchange" help:"exchange at RabbitMQ"`
	RoutingKey  string `key:"routing_key" help:"routing key at RabbitMQ"`
}

func (r *Route) inherit(c *Config) {
	r.Retry, r.OnDead = c.Retry, c.OnDead
	r.Match.Topic, r.To.Topic = "*", "{topic}"
	r.CloudEvents = CloudEvents{Mode: "none", Type: "{type}"}
}
