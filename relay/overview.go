package relay

import (
	"maps"
	"slices"
	"strings"
)

// Reported lists the destinations that relays report, sorted.
func (o *Overview) Reported() []string {
	names := map[string]bool{}
	for _, r := range o.Relays {
		for name := range r.Destinations {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Destination returns what is reported about a destination, and which relay says so: the owner if it reports it, else any. Empty by = no relay does.
func (o *Overview) Destination(name string) (st DestinationStatus, by string) {
	for _, r := range o.Relays {
		if reported, has := r.Destinations[name]; has && (by == "" || o.OwnedBy(r.Instance)) {
			st, by = reported, r.Instance
		}
	}
	return st, by
}

// OwnedBy says whether a relay is the owner, whose name is an instance and what tells its processes apart: relay-1 does not own what relay-10/… owns.
func (o *Overview) OwnedBy(instance string) bool {
	rest, is := strings.CutPrefix(o.Owner, instance)
	return is && (rest == "" || rest[0] == '/')
}
