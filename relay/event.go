package relay

import (
	"errors"
	"fmt"
)

// EventMode says how a message is written as a CloudEvent (CloudEvents 1.0, "Protocol Binding").
type EventMode uint8

// The modes. Binary: the attributes are headers, the payload stays as it is. Structured: attributes and payload are one JSON document.
const (
	EventBinary EventMode = iota
	EventStructured
)

// CloudEvents asks for messages of a route to be written as CloudEvents.
type CloudEvents struct {
	Mode   EventMode
	Source string // template of the attribute source, a URI reference; required
	Type   string // template of the attribute type; where it gives nothing, the topic is the type. Empty = {type}
	Prefix string // of header names in binary mode; empty = as the broker's binding says
}

// Event is a route's CloudEvents, compiled. It never changes and is safe for concurrent use.
type Event struct {
	Mode   EventMode
	Prefix string // empty = as the broker's binding says

	source, typ template
}

func newEvent(c *CloudEvents) (*Event, error) {
	if c == nil {
		return nil, nil
	}
	if c.Source == "" {
		return nil, errors.New("a CloudEvent needs a source")
	}
	source, err := parseTemplate(c.Source)
	if err != nil {
		return nil, fmt.Errorf("source of CloudEvents: %w", err)
	}
	text := c.Type
	if text == "" {
		text = "{type}"
	}
	typ, err := parseTemplate(text)
	if err != nil {
		return nil, fmt.Errorf("type of CloudEvents: %w", err)
	}
	return &Event{Mode: c.Mode, Prefix: c.Prefix, source: source, typ: typ}, nil
}

// Source is the attribute source of a message; it can be empty when it is made of the message's own fields.
func (e *Event) Source(m *Message) string { return e.source.expand(m) }

// Type is the attribute type of a message; never empty.
func (e *Event) Type(m *Message) string {
	if t := e.typ.expand(m); t != "" {
		return t
	}
	return m.Topic
}
