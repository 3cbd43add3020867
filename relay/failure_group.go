package relay

import (
	"fmt"
	"strconv"
	"time"
)

// FailureID names a failure group: a hash of destination, error class and normalised error text. 0 = none.
type FailureID int64

// String writes 16 hex digits.
func (f FailureID) String() string { return fmt.Sprintf("%016x", uint64(f)) }

// ParseFailureID reads what String writes.
func ParseFailureID(s string) (FailureID, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) != 16 || n == 0 {
		return 0, fmt.Errorf("%s is no failure group: 16 hex digits", strconv.Quote(s))
	}
	return FailureID(n), nil
}

// FailureGroup is what the held messages that failed for one reason have in common.
type FailureGroup struct {
	ID          FailureID
	Destination string
	Class       string
	Code        string
	Error       string   // its first 200 characters, of the oldest message
	Topics      []string // the first few
	Dead        Count
	Retrying    Count     // those that are not dead: retrying, or blocked again after a retry
	Keys        Count     // closed keys whose messages these are
	First       time.Time // the first failure of the oldest message
	Last        time.Time // the newest message was set aside or last changed
}

// ActivityRow is one entry of the activity log.
type ActivityRow struct {
	ID        int64
	At        time.Time
	Actor     string // who, as the program that acted says
	DBUser    string // the database's own word for it
	Address   string // empty = none
	Via       string // cli, ui, api or auto
	Action    string
	Target    string // empty = messages, see IDs
	Reason    string
	Requested int
	Changed   int
	IDs       []ID // the first ten that were changed
	Result    string
}
