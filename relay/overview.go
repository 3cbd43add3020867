package relay

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Reported lists the destinations that relays report or people have stopped, sorted.
func (o *Overview) Reported() []string {
	names := map[string]bool{}
	for _, r := range o.Relays {
		for name := range r.Destinations {
			names[name] = true
		}
	}
	for _, p := range o.Paused {
		if p.Destination != "" {
			names[p.Destination] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Destination returns what is reported about a destination, and which relay says so: the owner if it reports it, else any. Empty by = no relay does. Whether a person
// stopped it is known better than the relays know it, who hear of it a second later.
func (o *Overview) Destination(name string) (st DestinationStatus, by string) {
	for _, r := range o.Relays {
		if reported, has := r.Destinations[name]; has && (by == "" || o.OwnedBy(r.Instance)) {
			st, by = reported, r.Instance
		}
	}
	if p := o.StoppedBy(name); p != nil {
		st.State, st.Since, st.Detail, st.Paused = DestinationPaused, p.At, p.Text(), p
	} else if st.State == DestinationPaused {
		st.State, st.Since, st.Detail, st.Paused = DestinationClosed, time.Time{}, "", nil
	}
	return st, by
}

// StoppedBy returns what a person did to stop a destination, nil when nobody did: its own pause before that of all.
func (o *Overview) StoppedBy(name string) *PausedDestination { return stoppedBy(o.Paused, name) }

// OwnedBy says whether a relay is the owner, whose name is an instance and what tells its processes apart: relay-1 does not own what relay-10/… owns.
func (o *Overview) OwnedBy(instance string) bool {
	rest, is := strings.CutPrefix(o.Owner, instance)
	return is && (rest == "" || rest[0] == '/')
}
