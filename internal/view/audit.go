package view

import (
	"strconv"
	"time"

	"github.com/waybillmq/waybill/internal/audit"
)

// Audit is one comparison of what was written, sent and stored.
type Audit struct {
	ID          string            `json:"id"`
	From        string            `json:"from"` // first id
	To          string            `json:"to"`   // last id
	Verdict     string            `json:"verdict"`
	Actor       string            `json:"actor"`
	Reason      string            `json:"reason,omitempty"`
	BeganAt     time.Time         `json:"began_at"`
	EndedAt     time.Time         `json:"ended_at,omitzero"`
	Rows        int               `json:"rows_read"`
	Records     int               `json:"records_read"`
	Written     int               `json:"written"`
	Sent        int               `json:"sent"`
	Stored      int               `json:"stored"`
	Waiting     int               `json:"waiting"`
	Discarded   int               `json:"discarded"`
	Unread      int               `json:"not_judged"`
	Lost        int               `json:"lost"`
	Phantom     int               `json:"phantom"`
	OutOfOrder  int               `json:"out_of_order"`
	Altered     int               `json:"altered"`
	Duplicates  int               `json:"duplicates"`
	Notes       []string          `json:"notes,omitempty"`
	Failure     string            `json:"failure,omitempty"`
	Differences []AuditDifference `json:"differences,omitempty"` // of one audit alone, not in lists; the first 100
}

// AuditDifference is one finding of an audit.
type AuditDifference struct {
	Kind      string `json:"kind"`
	ID        string `json:"id"`
	MessageID string `json:"message_id"`
	Lane      string `json:"lane,omitempty"`   // destination and lane
	Offset    string `json:"offset,omitempty"` // left out where nobody told it
}

// OfAudit shows an audit as a list does.
func OfAudit(r audit.Run) Audit {
	s := &r.Result
	return Audit{ID: strconv.FormatInt(r.ID, 10), From: strconv.FormatInt(r.From, 10), To: strconv.FormatInt(r.To, 10), Verdict: string(r.Verdict()), Actor: r.Actor, Reason: r.Reason,
		BeganAt: r.BeganAt, EndedAt: r.EndedAt, Rows: r.Rows, Records: r.Records, Written: s.Written, Sent: s.Sent, Stored: s.Stored, Waiting: s.Pending, Discarded: s.Discarded,
		Unread: s.Unread, Lost: s.Lost, Phantom: s.Phantom, OutOfOrder: s.OutOfOrder, Altered: s.Altered, Duplicates: s.Duplicates, Notes: r.Notes, Failure: r.Failure}
}

// OfWholeAudit shows an audit with its differences.
func OfWholeAudit(r audit.Run) Audit {
	v := OfAudit(r)
	for _, d := range r.Result.Differences {
		found := AuditDifference{Kind: string(d.Kind), ID: strconv.FormatInt(d.ID, 10), MessageID: d.MessageID, Lane: d.At.Lane}
		if d.At.Lane != "" && d.At.Offset >= 0 {
			found.Offset = strconv.FormatInt(d.At.Offset, 10)
		}
		v.Differences = append(v.Differences, found)
	}
	return v
}
