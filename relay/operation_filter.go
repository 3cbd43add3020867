package relay

import (
	"fmt"
	"slices"
	"strings"
)

// Applies says which states an act applies to, and by which of them a filter goes that names no state of its own.
func Applies(action string) (all, byDefault []string) {
	held := []string{StateDead, string(Retrying), string(Blocked), string(Scheduled)}
	switch action {
	case PlanRetry:
		return []string{StateDead, string(Retrying), StateDiscarded}, held[:2]
	case PlanSkip:
		return held[:1], held[:1]
	case PlanDiscard:
		return held, held
	}
	return nil, nil
}

// PlanFilter is the filter of a plan: one that names no state gets those that the act is usually for. An error says that the act applies to nothing that the
// filter can mean.
func PlanFilter(action string, f Filter) (Filter, error) {
	all, byDefault := Applies(action)
	if all == nil {
		return f, fmt.Errorf("there is no plan to %s; there are retry, skip and discard", action)
	}
	i := slices.IndexFunc(f.Terms, func(t Term) bool { return t.Name == "state" && !t.Not })
	if i < 0 {
		return Filter{Terms: append(slices.Clip(f.Terms), Term{Name: "state", Op: ':', Values: byDefault})}, nil
	}
	fits := func(state string) bool {
		return slices.Contains(all, state) || state == StatePending && action != PlanSkip // held messages that are not dead are pending too
	}
	if !slices.ContainsFunc(f.Terms[i].Values, fits) {
		return f, fmt.Errorf("%s does not apply to %s messages; it applies to %s", action, strings.Join(f.Terms[i].Values, ", "), strings.Join(all, ", "))
	}
	return f, nil
}
