package mask

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/internal/glob"
)

// Rule hides values in messages of some topics.
type Rule struct {
	Topics  []string // * = any run of characters
	Paths   []string // of JSON payloads
	Headers []string // names, in any case; * = any run of characters
}

// Masks are compiled rules. Safe for concurrent use.
type Masks struct{ rules []rule }

type rule struct {
	Rule
	paths []Path
	wrong error // the rule cannot be applied
}

// New compiles rules. One with a path that cannot be read hides the whole payload of its topics; its error is returned too.
func New(rules []Rule) (*Masks, error) {
	m := &Masks{}
	var first error
	for _, r := range rules {
		c := rule{Rule: r}
		for _, text := range r.Paths {
			p, err := ParsePath(text)
			if err != nil {
				c.wrong = err
				if first == nil {
					first = err
				}
			}
			c.paths = append(c.paths, p)
		}
		m.rules = append(m.rules, c)
	}
	return m, first
}

// Payload returns what may be shown of the payload of a message of topic, and how many values are hidden in it. An error means that nothing of it may be shown; it never holds
// any of it. The payload is not changed.
func (m *Masks) Payload(topic string, payload []byte) (shown []byte, hidden int, err error) {
	var paths []Path
	for _, r := range m.rules {
		if len(r.Paths) == 0 || !anyMatch(r.Topics, topic) {
			continue
		}
		if r.wrong != nil {
			return nil, 0, fmt.Errorf("a mask cannot be read: %w", r.wrong)
		}
		paths = append(paths, r.paths...)
	}
	if len(paths) == 0 || len(payload) == 0 {
		return payload, 0, nil
	}
	return hideJSON(payload, paths)
}

// Headers returns the headers of a message of topic with what may be shown of their values, and how many are hidden. The map is a new one.
func (m *Masks) Headers(topic string, headers map[string]string) (shown map[string]string, hidden int) {
	shown = maps.Clone(headers)
	for name := range shown {
		if m.hides(topic, name) {
			shown[name] = Hidden
			hidden++
		}
	}
	return shown, hidden
}

func (m *Masks) hides(topic, header string) bool {
	for _, r := range m.rules {
		if !anyMatch(r.Topics, topic) {
			continue
		}
		for _, name := range r.Rule.Headers {
			if glob.Parse(strings.ToLower(name)).Match(strings.ToLower(header)) {
				return true
			}
		}
	}
	return false
}

func anyMatch(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return glob.Parse(p).Match(s) })
}
