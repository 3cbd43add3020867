package relay

import "testing"

func TestRouterWritesTheAddress(t *testing.T) {
	router, err := NewRouter([]Route{
		{Name: "paid", Topic: "pay.*", Target: "{topic}", Replace: []string{".", "_"}, RoutingKey: "{type}.{header.region}", CloudEvents: &CloudEvents{Source: "/shop/{header.region}", Prefix: "x-"}},
		{Name: "typed", Topic: "typed", CloudEvents: &CloudEvents{Mode: EventStructured, Source: "/s", Type: "com.shop.{type}"}},
		{Name: "rest"},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &Message{Topic: "pay.card.eu", Type: "captured", Headers: []Header{{"region", "eu"}}}
	if r := router.Find(m); r.Name != "paid" || m.Target != "pay_card_eu" || m.RoutingKey != "captured.eu" {
		t.Errorf("%s: target %q, routing key %q", r.Name, m.Target, m.RoutingKey)
	}
	if e := m.Event; e.Mode != EventBinary || e.Prefix != "x-" || e.Source(m) != "/shop/eu" || e.Type(m) != "captured" {
		t.Errorf("event %+v: source %q, type %q", e, e.Source(m), e.Type(m))
	}
	if m.Type = ""; m.Event.Type(m) != "pay.card.eu" {
		t.Errorf("without a type: %q, want the topic", m.Event.Type(m))
	}
	m.Topic = "rest" // the same message again: what an earlier route wrote must not stay
	if router.Find(m); m.Target != "rest" || m.RoutingKey != "" || m.Event != nil {
		t.Errorf("target %q, routing key %q, event %v", m.Target, m.RoutingKey, m.Event)
	}
	m = &Message{Topic: "typed", Type: "t"}
	if router.Find(m); m.Event.Mode != EventStructured || m.Event.Type(m) != "com.shop.t" {
		t.Errorf("event %+v: type %q", m.Event, m.Event.Type(m))
	}
	for name, bad := range map[string]Route{
		"half a pair to replace":   {Replace: []string{"."}},
		"a bad routing key":        {RoutingKey: "{nothing}"},
		"an event without source":  {CloudEvents: &CloudEvents{}},
		"a bad source of an event": {CloudEvents: &CloudEvents{Source: "{"}},
		"a bad type of an event":   {CloudEvents: &CloudEvents{Source: "/", Type: "{}"}},
	} {
		if _, err := NewRouter([]Route{bad}); err == nil {
			t.Errorf("a route with %s was accepted", name)
		}
	}
}
