package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/relay"
)

// destinationStates is what the owner reports about its destinations, for people in other processes.
func destinationStates(st relay.Status) map[string]relay.DestinationStatus {
	states := make(map[string]relay.DestinationStatus, len(st.Destinations))
	for _, d := range st.Destinations {
		s := relay.DestinationStatus{State: relay.DestinationClosed}
		switch {
		case d.Stopped != nil:
			s = relay.DestinationStatus{State: relay.DestinationPaused, Since: d.Stopped.At, Detail: d.Stopped.Text(), Paused: d.Stopped}
		case d.Paused:
			s = relay.DestinationStatus{State: relay.DestinationConfig, Since: d.Since, Detail: d.Fault.Detail}
		case d.BreakerOpen:
			s = relay.DestinationStatus{State: relay.DestinationOpen, Since: d.Since, Detail: d.Fault.Detail}
		case len(d.Topics) > 0:
			var parts []string
			for _, topic := range slices.Sorted(maps.Keys(d.Topics)) {
				parts = append(parts, fmt.Sprintf("topic %s: %s", topic, d.Topics[topic].Detail))
			}
			s = relay.DestinationStatus{State: relay.DestinationConfig, Detail: strings.Join(parts, "; ")}
		case d.Refused > 0:
			s = relay.DestinationStatus{State: relay.DestinationPartly, Detail: fmt.Sprintf("%d of %d lanes wait: %s", d.Refused, d.Lanes, d.Fault.Detail)}
		}
		s.Cached, s.CacheFull = d.Cached, d.CacheFull
		states[d.Name] = s
	}
	return states
}
