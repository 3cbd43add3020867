package dashboard

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/waybillmq/waybill/relay"
)

type messagePage struct {
	relay.MessageInfo
	Answer   Answer
	Acts     []act
	Timeline []event
	Reveals  bool // who looks may have it shown
}

// event is one thing that happened to a message.
type event struct {
	At    time.Time
	What  string
	Tone  string
	Where string // lane, instance, epoch
	Text  string // what the broker answered
}

// find resolves an id or message id of the path.
func (d *Dashboard) find(r *http.Request) (relay.MessageInfo, error) {
	id, err := d.Inspector.Find(r.Context(), r.PathValue("id"))
	if err != nil {
		return relay.MessageInfo{}, err
	}
	return d.Inspector.Message(r.Context(), id)
}

func (d *Dashboard) message(w http.ResponseWriter, r *http.Request, s *session) error {
	m, err := d.find(r)
	if err != nil {
		return err
	}
	return d.showMessage(w, r, s, http.StatusOK, m)
}

func (d *Dashboard) showMessage(w http.ResponseWriter, r *http.Request, s *session, code int, m relay.MessageInfo) error {
	attempts, err := d.Inspector.Attempts(r.Context(), m.ID)
	if err != nil {
		return err
	}
	p := messagePage{MessageInfo: m, Acts: actsOn(&m), Timeline: timeline(&m, attempts), Reveals: d.reveals(s.who(), m.Topic)}
	if p.Answer, err = d.Guide.Message(r.Context(), m.ID); err != nil {
		return err
	}
	return d.show(w, s, code, "message", page{Title: "Message " + m.ID.String(), Active: "messages", Body: p})
}

// timeline tells a message's life, newest first.
func timeline(m *relay.MessageInfo, attempts []relay.AttemptInfo) []event {
	events := []event{{At: m.CreatedAt, What: "written", Text: "committed with its transaction"}}
	for _, a := range attempts {
		text := a.Class
		if a.Code != "" {
			text += " · " + a.Code
		}
		if a.Error != "" {
			text += " · " + a.Error
		}
		events = append(events, event{At: a.At, What: "attempt " + strconv.Itoa(a.N) + ": " + a.Outcome, Tone: "bad", Text: text,
			Where: a.Lane + " · " + a.Instance + " · epoch " + strconv.FormatInt(int64(a.Epoch), 10) + " · took " + round(a.Took)})
	}
	for _, p := range m.Places {
		text := "confirmed, without an offset"
		if p.HasOffset {
			text = "confirmed at offset " + strconv.FormatInt(p.Offset, 10)
		}
		if p.Detail != "" {
			text += " · " + p.Detail
		}
		events = append(events, event{At: p.AckedAt, What: "sent", Tone: "good", Text: text, Where: p.Destination + " · " + p.Lane + " · epoch " + strconv.FormatInt(int64(p.Epoch), 10)})
	}
	if !m.DiscardedAt.IsZero() {
		events = append(events, event{At: m.DiscardedAt, What: "discarded", Tone: "warn", Where: m.DiscardedBy, Text: m.Reason})
	}
	slices.SortStableFunc(events, func(a, b event) int { return b.At.Compare(a.At) })
	return events
}
