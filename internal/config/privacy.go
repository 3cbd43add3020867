package config

import (
	"strconv"

	"github.com/waybillmq/waybill/internal/mask"
)

// Privacy says what stays hidden also from people who may have payloads shown.
type Privacy struct {
	Masks []Mask `key:"masks" restart:"true" help:"what is hidden in payloads and headers when they are shown. Where one cannot be applied, such as paths to a payload that is no JSON, the whole payload stays hidden"`
}

// Mask hides values in messages of some topics. All masks that fit a topic count.
type Mask struct {
	Topics    []string `key:"topics" help:"topics that it is for; * = any run of characters"`
	JSONPaths []string `key:"json_paths" help:"places in payloads: $.card.number, $..email at any depth, $.lines[*].address; names match in any case"`
	Headers   []string `key:"headers" help:"names of headers, in any case; * = any run of characters"`
}

func (m *Mask) inherit(*Config) {
	*m = Mask{Topics: []string{"*"}, JSONPaths: []string{}, Headers: []string{}}
}

// DefaultPrivacy returns the default: what usually is nobody's business.
func DefaultPrivacy() Privacy {
	return Privacy{Masks: []Mask{{Topics: []string{"*"}, JSONPaths: []string{"$..email", "$..password", "$..card.number"}, Headers: []string{"authorization", "cookie"}}}}
}

// validatePrivacy checks paths; a mask that means nothing is a mistake too.
func (d *decoder) validatePrivacy() {
	for i, m := range d.root.Privacy.Masks {
		at := "privacy.masks[" + strconv.Itoa(i) + "]"
		for n, text := range m.JSONPaths {
			if _, err := mask.ParsePath(text); err != nil {
				d.at(at+".json_paths["+strconv.Itoa(n)+"]", "%s", err)
			}
		}
		for n, name := range m.Headers {
			if name == "" {
				d.at(at+".headers["+strconv.Itoa(n)+"]", "is empty: write the name of a header")
			}
		}
		for n, topic := range m.Topics {
			if topic == "" {
				d.at(at+".topics["+strconv.Itoa(n)+"]", "is empty: write a topic, or \"*\" for all")
			}
		}
		if len(m.Topics) == 0 || len(m.JSONPaths)+len(m.Headers) == 0 {
			d.at(at, "hides nothing: give it topics, and json_paths or headers")
		}
	}
}
