package view

import (
	"strconv"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Why is a verdict with its evidence and what to do.
type Why struct {
	Verdict  string    `json:"verdict"` // one of a closed list, such as dead or breaker_open
	Subject  string    `json:"subject"` // message 17, key 4711 of order.paid, destination kafka-a, outbox
	Since    time.Time `json:"since,omitzero"`
	Evidence []string  `json:"evidence"`
	Next     []string  `json:"next"`
}

// Status is the whole outbox at one moment. With a headline that the database does not answer, the rest is empty.
type Status struct {
	Headline     Why               `json:"headline"`
	Now          time.Time         `json:"now"`
	Epoch        string            `json:"epoch"`
	Owner        string            `json:"owner,omitempty"`
	Address      string            `json:"address,omitempty"`
	Alive        bool              `json:"owner_alive"`
	AcquiredAt   time.Time         `json:"acquired_at,omitzero"`
	LeaseUntil   time.Time         `json:"lease_until,omitzero"`
	QuietUntil   time.Time         `json:"quiet_until,omitzero"`
	LastID       string            `json:"last_id"`
	ReadUpTo     string            `json:"read_up_to"`
	Claimed      string            `json:"claimed"`
	LowWater     string            `json:"low_water"`
	Counts       map[string]string `json:"counts"`
	OldestAt     time.Time         `json:"oldest_pending_at,omitzero"`
	Relays       []Relay           `json:"relays"`
	Destinations []Reported        `json:"destinations"`
}

// Relay is a running relay.
type Relay struct {
	Instance  string    `json:"instance"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at"`
	Version   string    `json:"version"`
	Address   string    `json:"address,omitempty"`
	Owner     bool      `json:"-"`
}

// Reported is a destination as a relay reports it.
type Reported struct {
	Name string `json:"name"`
	relay.DestinationStatus
}

// Unknown is the status of an outbox whose database does not answer.
func Unknown(headline Why) Status {
	return Status{Headline: headline, Counts: map[string]string{}, Relays: []Relay{}, Destinations: []Reported{}}
}

// OfStatus shows an overview under its headline.
func OfStatus(headline Why, o relay.Overview) Status {
	v := Unknown(headline)
	v.Now, v.Epoch, v.Owner, v.Address, v.Alive = o.Now, ofEpoch(o.Epoch), o.Owner, o.Address, o.Alive
	v.AcquiredAt, v.LeaseUntil, v.OldestAt = o.AcquiredAt, o.LeaseUntil, o.OldestAt
	if o.QuietUntil.After(o.Now) {
		v.QuietUntil = o.QuietUntil
	}
	v.LastID, v.ReadUpTo, v.Claimed, v.LowWater = o.LastID.String(), o.ReadUpTo.String(), o.Claimed.String(), o.LowWater.String()
	v.Counts["pending"], v.Counts["closed_keys"] = o.Pending.String(), o.Closed.String()
	for _, s := range []relay.HeldState{relay.Retrying, relay.Blocked, relay.Scheduled, relay.Dead} {
		v.Counts[string(s)] = o.Held[s].String()
	}
	for _, r := range o.Relays {
		v.Relays = append(v.Relays, Relay{r.Instance, r.StartedAt, r.SeenAt, r.Version, r.Address, o.OwnedBy(r.Instance)})
	}
	for _, name := range o.Reported() {
		st, _ := o.Destination(name)
		v.Destinations = append(v.Destinations, Reported{name, st})
	}
	return v
}

// Unreported is the state of a configured destination of which no relay says anything.
const Unreported = "unreported"

// Destination is a destination of the configuration, or one that a relay reports, with what it says of it.
type Destination struct {
	Reported
	Kind string `json:"kind,omitempty"`        // of the broker, when it is in this configuration
	By   string `json:"reported_by,omitempty"` // instance
}

// Pausing is what a person did to a destination.
type Pausing struct {
	Destination string `json:"destination,omitempty"` // left out: all of them
	Paused      bool   `json:"paused"`
	Activity    string `json:"activity"`

	Until time.Time `json:"until,omitzero"` // when a pause ends by itself; left out: when it is resumed
}

// OfPausing shows an act; an empty name means all destinations, a zero end none.
func OfPausing(name string, paused bool, activity int64, until time.Time) Pausing {
	return Pausing{name, paused, strconv.FormatInt(activity, 10), until.UTC()}
}
