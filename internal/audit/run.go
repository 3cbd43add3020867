package audit

import (
	"fmt"
	"time"
)

// What one audit may take in.
const (
	MaxWindow     = 100_000          // ids
	DefaultWindow = 10_000           // ids, the newest, when nobody says which
	Lag           = 10 * time.Minute // the youngest messages are left out: they are on their way
)

// Window checks which ids are wanted against those that can be compared, lo to hi; 0 = not said. The error is a sentence for people.
func Window(lo, hi, from, to int64) (int64, int64, error) {
	switch {
	case hi == 0 || hi < lo:
		return 0, 0, fmt.Errorf("no message is older than %d minutes yet; younger ones are on their way", Lag/time.Minute)
	case from < 0 || to < 0 || from > 0 && to > 0 && from > to:
		return 0, 0, fmt.Errorf("ids %d to %d are no range", from, to)
	}
	switch {
	case from == 0 && to == 0:
		to = hi
		from = max(lo, to-DefaultWindow+1)
	case to == 0:
		to = max(from, min(hi, from+DefaultWindow-1)) // ids behind hi are refused below
	case from == 0:
		from = max(lo, to-DefaultWindow+1)
	}
	switch {
	case to > hi:
		return 0, 0, fmt.Errorf("id %d is too young: only ids up to %d were written %d minutes ago or before", to, hi, Lag/time.Minute)
	case to < lo:
		return 0, 0, fmt.Errorf("ids up to %d are no longer there: the first one is %d", to, lo)
	case to-from >= MaxWindow:
		return 0, 0, fmt.Errorf("ids %d to %d are too many: one audit takes %d", from, to, MaxWindow)
	}
	return max(from, lo), to, nil
}

// Verdict is what a run came to, in one word.
type Verdict string

// The verdicts. A run is never clean for what it did not read.
const (
	Running     Verdict = "running"
	Failed      Verdict = "failed"      // it has no result
	Clean       Verdict = "clean"       // all that was sent and read is there, once or more, as it was written
	Differences Verdict = "differences" // something is lost, altered, out of order, or was never written
	Void        Verdict = "void"        // less than 99 % of what was sent could be judged
)

// Run is one audit. It is kept as JSON.
type Run struct {
	ID      int64     `json:"id,string"` // row of the activity log that began it
	From    int64     `json:"from,string"`
	To      int64     `json:"to,string"`
	Actor   string    `json:"actor"`
	Reason  string    `json:"reason,omitempty"`
	BeganAt time.Time `json:"began_at"`
	EndedAt time.Time `json:"ended_at,omitzero"`
	Rows    int       `json:"rows"`    // of the log, read so far
	Records int       `json:"records"` // of brokers, read so far
	Result  Result    `json:"result"`
	Notes   []string  `json:"notes,omitempty"` // what could not be read, and why
	Failure string    `json:"failure,omitempty"`
}

// Verdict judges the run.
func (r *Run) Verdict() Verdict {
	switch {
	case r.EndedAt.IsZero():
		return Running
	case r.Failure != "":
		return Failed
	case !r.Result.Clean():
		return Differences
	case r.Result.Unread*100 > r.Result.Sent:
		return Void
	}
	return Clean
}

// Line is the result in one line.
func (r *Run) Line() string {
	s := &r.Result
	switch v := r.Verdict(); v {
	case Running:
		return fmt.Sprintf("%d rows and %d records read", r.Rows, r.Records)
	case Failed:
		return string(v) + ": " + r.Failure
	default:
		text := fmt.Sprintf("%s: written %d, sent %d, stored %d, waiting %d, discarded %d: %d lost, %d phantom, %d out of order, %d altered, %d duplicates",
			v, s.Written, s.Sent, s.Stored, s.Pending, s.Discarded, s.Lost, s.Phantom, s.OutOfOrder, s.Altered, s.Duplicates)
		if s.Unread > 0 {
			text += fmt.Sprintf(" (%d could not be read back)", s.Unread)
		}
		return text
	}
}
