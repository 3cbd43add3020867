package config

import (
	"errors"
	"strings"
	"testing"
)

// There is no key by which a destination would promise less in silence: acks, requests at once and retries of a client are not for a file to decide.
func TestNoKeyMakesADestinationWeaker_E3_D8(t *testing.T) {
	for kind, has := range map[string]string{"kafka": `brokers: ["b:1"]`, "rocketmq": `name_servers: ["n:1"]`, "rabbitmq": `hosts: ["h:1"]`} {
		for _, key := range []string{"acks", "required_acks", "retries", "max_retries", "retry_times", "max_in_flight",
			"in_flight", "async", "auto_ack", "confirm", "mandatory", "auto_create"} {
			text := strings.Replace(smallest, `kind: kafka, brokers: ["localhost:9092"]`, "kind: "+kind+", "+has+", "+key+": 1", 1)
			_, err := Parse("config.yaml", []byte(text), Options{})
			var ps Problems
			if !errors.As(err, &ps) || !strings.Contains(err.Error(), "destinations.kafka-a."+key+": unknown key") {
				t.Errorf("%s with %s: %v", kind, key, err)
			}
		}
	}
}
