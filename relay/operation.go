package relay

import (
	"context"
	"errors"
	"strconv"
	"time"
)

// Planner is for people's hands when many messages are meant: a plan fixes and counts them, and nothing has happened before it is started. A started plan is an
// operation, which the owner runs in short transactions; it survives restarts and changes of owner. Each method writes its row in the activity log in its own
// transaction. Safe for concurrent use. Errors: ErrBusy, ErrDenied, ErrNotFound, *StateError.
type Planner interface {
	// Plan fixes which messages match now and that the act applies to. It blocks as long as the search takes, and locks no message. The plan expires 10 min later.
	Plan(ctx context.Context, p PlanRequest, act Act) (Operation, error)

	// Start lets the owner begin. *StateError: it is no plan any more, or has expired.
	Start(ctx context.Context, id OperationID, pace Pace, act Act) error

	// Steer pauses, resumes or stops an operation; a plan can be stopped too. It takes hold before the next transaction; what was done stays done.
	Steer(ctx context.Context, id OperationID, verb Verb, act Act) error

	// Planned returns a plan or operation as the acts of this ctx left it; see Once.
	Planned(ctx context.Context, id OperationID) (Operation, error)
}

// OperationID names a plan and the operation that it becomes.
type OperationID int64

func (id OperationID) String() string { return strconv.FormatInt(int64(id), 10) }

// The acts that a plan can be made for.
const (
	PlanRetry   = "retry"
	PlanSkip    = "skip"
	PlanDiscard = "discard"
)

// PlanRequest says what to do to which messages.
type PlanRequest struct {
	Action string // PlanRetry, …
	Filter Filter
	Text   string // the filter as the person wrote it
}

// Pace says how an operation goes.
type Pace struct {
	Careful bool    // 10 messages, then 100, then the rest; each step waits for the outcomes of the one before
	Rate    int     // messages a second, 0 = no limit of its own
	StopAt  float64 // stops by itself when more than this share of a step fails again, 0 to 1
}

// DefaultPace is careful, as fast as delivery allows, and stops above 5 %.
func DefaultPace() Pace { return Pace{Careful: true, StopAt: 0.05} }

// Verb is what a person can do to a running operation.
type Verb string

// The verbs.
const (
	Pause  Verb = "pause"
	Resume Verb = "resume"
	Stop   Verb = "stop"
)

// OperationState is where a plan or operation stands.
type OperationState string

// The states: planning → planned → running ⇄ paused → done or stopped; a plan that nobody starts is expired.
const (
	OperationPlanning OperationState = "planning"
	OperationPlanned  OperationState = "planned"
	OperationRunning  OperationState = "running"
	OperationPaused   OperationState = "paused"
	OperationStopped  OperationState = "stopped"
	OperationDone     OperationState = "done"
	OperationExpired  OperationState = "expired"
)

// Ended says that nothing will change any more.
func (s OperationState) Ended() bool {
	return s == OperationStopped || s == OperationDone || s == OperationExpired
}

// Operation is a plan, or the running of it. 0 <= StepJudged <= StepHandled <= Handled <= Total. Times are the database's.
type Operation struct {
	ID     OperationID
	Action string
	Filter string
	State  OperationState
	Cause  string // why it stopped before its last message
	Actor  string
	Reason string
	Pace

	PlannedAt time.Time
	ExpiresAt time.Time // of a plan
	StartedAt time.Time // zero = never
	EndedAt   time.Time // zero = not yet

	Total   int // messages of the plan
	LeftOut int // that match, and that the act does not apply to or that were being sent
	Summary PlanSummary

	Handled     int // acted on, or left alone because they had changed
	Step        int // 0 = not begun
	StepHandled int
	StepJudged  int // of those, with an outcome
	StepSent    int
	StepFailed  int

	Sent        int // retried, and the broker confirmed
	FailedAgain int // retried, and the first outcome was another failure
	Waits       int // retried, and waits behind a message of its key that does not pass
	Acted       int // skipped or discarded
	Changed     int // was in another state than when it was planned: left alone
}

// PlanSummary is what a plan found, counted exactly.
type PlanSummary struct {
	States       map[string]int     `json:"states"`
	Destinations []DestinationCount `json:"destinations"` // the largest first, at most 50
	Failures     []FailureCount     `json:"failures"`     // the largest first, at most 20
	Causes       int                `json:"causes"`       // failures in all
	Keys         int                `json:"keys"`         // closed keys of these messages
	Behind       int                `json:"behind"`       // other messages that wait in those keys
	Unknown      int                `json:"unknown"`      // whose last attempt had no answer: they may lie at the broker already
}

// DestinationCount is how many messages of a plan go to a destination; an empty name = the route decides anew.
type DestinationCount struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// FailureCount is how many messages of a plan failed for one reason.
type FailureCount struct {
	Destination string `json:"destination"`
	Class       string `json:"class"`
	Failure     string `json:"failure"` // the failure group, as FailureID writes it; empty = none
	Error       string `json:"error"`   // its first 200 characters
	Count       int    `json:"count"`
}

// The outcomes of a message in an operation; an open one has none yet.
const (
	OutcomeSent        = "sent"
	OutcomeFailedAgain = "failed_again"
	OutcomeWaits       = "waits"
	OutcomeSkipped     = "skipped"
	OutcomeDiscarded   = "discarded"
	OutcomeChanged     = "changed"
)

// Outcomes lists them.
var Outcomes = []string{OutcomeSent, OutcomeFailedAgain, OutcomeWaits, OutcomeSkipped, OutcomeDiscarded, OutcomeChanged}

// OperationItem is one message of an operation.
type OperationItem struct {
	ID      ID
	State   string // when it was planned
	Step    int    // 0 = its turn has not come
	Outcome string // empty = none yet
}

// StateError means that an operation is in a state in which that cannot be done. Nothing was changed.
type StateError struct{ Text string }

func (e *StateError) Error() string { return e.Text }

// ErrTooMany means that a filter matches more messages than a plan may have, or that too much is planned already.
var ErrTooMany = errors.New("too many messages")
