package view

import (
	"strconv"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// Key is a closed key.
type Key struct {
	Topic    string    `json:"topic"`
	Key      string    `json:"key"`
	Head     string    `json:"head"`
	State    string    `json:"head_state"`
	Class    string    `json:"class,omitempty"`
	Error    string    `json:"error,omitempty"`
	Since    time.Time `json:"since"`
	NextAt   time.Time `json:"next_attempt_at,omitzero"`
	Attempts int       `json:"attempts"`
	Behind   string    `json:"behind"`
}

// OfKey shows a closed key.
func OfKey(k relay.KeyInfo) Key {
	return Key{k.Topic, k.Key.Key, k.Head.String(), string(k.State), k.Class, k.Error, k.Since, k.DueAt, k.Attempts, k.Behind.String()}
}

// Failure is a failure group: held messages that failed for one reason.
type Failure struct {
	ID          string    `json:"id"`
	Destination string    `json:"destination"`
	Class       string    `json:"class,omitempty"`
	Code        string    `json:"error_code,omitempty"`
	Error       string    `json:"error,omitempty"`
	Topics      []string  `json:"topics"`
	Dead        string    `json:"dead"`
	Retrying    string    `json:"retrying"`
	Keys        string    `json:"closed_keys"`
	First       time.Time `json:"first_at"`
	Last        time.Time `json:"last_at"`
}

// OfFailure shows a failure group.
func OfFailure(g relay.FailureGroup) Failure {
	v := Failure{g.ID.String(), g.Destination, g.Class, g.Code, g.Error, g.Topics, g.Dead.String(), g.Retrying.String(), g.Keys.String(), g.First, g.Last}
	if v.Topics == nil {
		v.Topics = []string{}
	}
	return v
}

// Activity is one row of the activity log.
type Activity struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	Actor     string    `json:"actor"`
	DBUser    string    `json:"db_user"`
	Address   string    `json:"address,omitempty"`
	Via       string    `json:"via"`
	Action    string    `json:"action"`
	Target    string    `json:"target,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Requested int       `json:"requested"`
	Changed   int       `json:"changed"`
	IDs       []string  `json:"ids"` // the first ten that were changed
	Result    string    `json:"result,omitempty"`
}

// OfActivity shows a row of the activity log.
func OfActivity(a relay.ActivityRow) Activity {
	v := Activity{strconv.FormatInt(a.ID, 10), a.At, a.Actor, a.DBUser, a.Address, a.Via, a.Action, a.Target, a.Reason, a.Requested, a.Changed, []string{}, a.Result}
	for _, id := range a.IDs {
		v.IDs = append(v.IDs, id.String())
	}
	return v
}
