package app

import (
	"os"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

func sample(t *testing.T, change func(string) string) *config.Config {
	t.Helper()
	text, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l, err := config.Parse("config.yaml", []byte(change(string(text))), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l.Config
}

func TestCheckRoutes(t *testing.T) {
	same := func(s string) string { return s }
	if failed, err := CheckRoutes(sample(t, same)); err != nil || len(failed) > 0 {
		t.Errorf("the checked-in routes: %v, %v", failed, err)
	}
	broken := sample(t, func(s string) string { return strings.Replace(s, "region: eu } }", "region: us } }", 1) })
	failed, err := CheckRoutes(broken)
	if err != nil || len(failed) != 1 || !strings.Contains(failed[0], `route is "everything-else", want "payments"`) {
		t.Errorf("%q, %v", failed, err)
	}
}

func TestKeyForADestinationWithoutKeys(t *testing.T) {
	c := sample(t, strings.NewReplacer("transactional: false", "transactional: true", "max_messages: 200\n      max_bytes: 1MiB", "max_messages: 1").Replace)
	for key, want := range map[string]int{"": 0, "k": 1} {
		tests, err := TestRoutes(c, []config.Given{{Topic: "click.cart", Key: key}})
		if err != nil || tests[0].Goes.Destination != "rocket" || len(tests[0].Wrong) != want {
			t.Errorf("key %q: %+v, %v", key, tests, err)
		}
	}
}

func TestRouted(t *testing.T) {
	c := sample(t, func(s string) string { return s })
	at := func(topic string) Routed {
		return *routed(c, &relay.MessageInfo{MessageRow: relay.MessageRow{Topic: topic}})
	}
	if got := at("order.paid"); got != (Routed{Route: "everything-else", Destination: "kafka-a", Certain: true}) {
		t.Errorf("%+v", got)
	}
	if got := at("payment.captured"); got.Certain || got.Route != "everything-else" {
		t.Errorf("a header decides: %+v", got)
	}
	c.Routes = c.Routes[:1]
	if got := at("payments"); got.Route != "" || !strings.Contains(got.Nearest, `"payments" (topic "payment.*" does not match)`) {
		t.Errorf("%+v", got)
	}
}

func TestRelayRetry(t *testing.T) {
	r := config.Default().Retry
	if got := relayRetry(r); got != relay.DefaultRetry() {
		t.Errorf("%+v", got)
	}
}
