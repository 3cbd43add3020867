package relay

import (
	"slices"
	"testing"
)

// The owner's word about a destination counts, also beside relays whose names begin like its own.
func TestOwnersWordCounts(t *testing.T) {
	says := func(instance, state string) RelayInfo {
		return RelayInfo{Instance: instance, Destinations: map[string]DestinationStatus{"kafka": {State: state}}}
	}
	all := []RelayInfo{says("relay-1", "partly"), says("relay-10", "open"), says("relay-100", "closed"), {Instance: "relay-2"}}
	for _, c := range []struct{ owner, state, by string }{
		{"relay-10/635c1108", "open", "relay-10"}, {"relay-1/635c1108", "partly", "relay-1"}, {"relay-100", "closed", "relay-100"},
		{"relay-2/1", "partly", "relay-1"}, {"", "partly", "relay-1"},
	} {
		for range 2 {
			o := &Overview{Owner: c.owner, Relays: all}
			if st, by := o.Destination("kafka"); st.State != c.state || by != c.by {
				t.Errorf("owner %q, %d relays: %s says %s, want %s of %s", c.owner, len(all), by, st.State, c.state, c.by)
			}
			if c.owner == "" || c.owner == "relay-2/1" {
				break // the first one that reports it
			}
			slices.Reverse(all)
		}
	}
	o := &Overview{Relays: all}
	if st, by := o.Destination("other"); by != "" || st != (DestinationStatus{}) {
		t.Errorf("a destination that nobody reports: %v by %q", st, by)
	}
	if got := o.Reported(); !slices.Equal(got, []string{"kafka"}) {
		t.Errorf("reported: %q", got)
	}
}

// Whether a person has stopped a destination is known from the pauses alone, whatever relays report yet.
func TestPausesCountBeforeReports(t *testing.T) {
	says := func(state string) []RelayInfo {
		return []RelayInfo{{Instance: "relay-1", Destinations: map[string]DestinationStatus{"kafka": {State: state, Cached: 3}}}}
	}
	own, all := PausedDestination{Destination: "kafka", Actor: "a", Reason: "r"}, PausedDestination{Actor: "b", Reason: "s"}
	for _, c := range []struct {
		reported string
		paused   []PausedDestination
		state    string
		detail   string
	}{
		{"open", []PausedDestination{all, own}, DestinationPaused, "by a: r"}, {"closed", []PausedDestination{all}, DestinationPaused, "with all others by b: s"},
		{"closed", []PausedDestination{{Destination: "other"}}, DestinationClosed, ""}, {"paused", nil, DestinationClosed, ""},
	} {
		o := &Overview{Relays: says(c.reported), Paused: c.paused}
		if st, by := o.Destination("kafka"); st.State != c.state || st.Detail != c.detail || by != "relay-1" || st.Cached != 3 || (st.Paused != nil) != (c.state == DestinationPaused) {
			t.Errorf("%+v: %+v by %s", c, st, by)
		}
	}
}
