package dashboard

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/internal/glob"
	"github.com/waybillmq/waybill/internal/mask"
	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

// Reveals show what messages carry to people of role payload, each time behind a row of the activity log.
type Reveals struct {
	From   relay.Revealer
	Masks  *mask.Masks
	Topics []string // that the role counts for; * = any run of characters
}

// mayReveal says whether anybody can have payloads shown here.
func (d *Dashboard) mayReveal() bool { return d.Reveals != nil && d.Logins.has(payload) && !d.ReadOnly }

// reveals says whether somebody may have messages of a topic shown.
func (d *Dashboard) reveals(p person, topic string) bool {
	return d.mayReveal() && d.lets(p, payload) && slices.ContainsFunc(d.Reveals.Topics, func(pattern string) bool { return glob.Parse(pattern).Match(topic) })
}

// shown is what may be seen of a message.
type shown struct {
	relay.Revealed
	Headers []header // instead of those as they were written
	Payload []byte   // masked
	Masked  int      // values that masks hide
	Hidden  string   // why nothing of the payload is shown; empty = it is
}

// header is one header that is shown.
type header struct{ Name, Value string }

// toReveal finds the message of the path that the one who asks may have shown. What is too large is refused before anything is written down.
func (d *Dashboard) toReveal(r *http.Request, p person) (relay.MessageInfo, error) {
	m, err := d.find(r)
	switch {
	case err != nil:
	case !d.reveals(p, m.Topic):
		err = &failure{"forbidden", http.StatusForbidden, "Not for this topic", "Nothing was shown: dashboard.roles.payload.topics does not have the topic " + m.Topic + "."}
	case m.Size > relay.MaxReveal:
		err = &failure{"too-large", http.StatusConflict, "Too large to be shown", fmt.Sprintf("Nothing was shown: the payload has %s; at most %s are shown.", sizeText(m.Size), sizeText(relay.MaxReveal))}
	}
	return m, err
}

// reveal shows a message. Whatever is not certain, the row of the log, the masks, the topic, lets nothing be seen.
func (d *Dashboard) reveal(ctx context.Context, p person, id relay.ID, by relay.Act) (shown, error) {
	got, err := d.Reveals.From.Reveal(ctx, id, by)
	if err != nil {
		return shown{}, err
	}
	if got.Activity == 0 || !d.reveals(p, got.Topic) {
		return shown{}, &failure{"forbidden", http.StatusForbidden, "Not shown", "Nothing was shown: it is not certain that it may be."}
	}
	s := shown{Revealed: got}
	s.Revealed.Headers, s.Revealed.Payload = nil, nil
	headers, masked := d.Reveals.Masks.Headers(got.Topic, got.Headers)
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		s.Headers = append(s.Headers, header{name, headers[name]})
	}
	s.Masked = masked
	switch body, n, err := d.Reveals.Masks.Payload(got.Topic, got.Payload); {
	case got.TooLarge():
		s.Hidden = "it has " + sizeText(got.Size) + ", and at most " + sizeText(relay.MaxReveal) + " are shown"
	case err != nil:
		s.Hidden = "privacy.masks has paths for topic " + got.Topic + ", and they cannot be applied: " + err.Error()
	default:
		s.Payload, s.Masked = body, s.Masked+n
	}
	return s, nil
}

type revealPage struct {
	relay.MessageInfo
	Reason, Wrong string
	Shown         *shown // nil = it is asked for
	Body          body
}

func (d *Dashboard) revealForm(w http.ResponseWriter, r *http.Request, s *session) error {
	m, err := d.toReveal(r, s.who())
	if err != nil {
		return err
	}
	return d.showReveal(w, s, http.StatusOK, revealPage{MessageInfo: m})
}

func (d *Dashboard) showReveal(w http.ResponseWriter, s *session, code int, p revealPage) error {
	return d.show(w, s, code, "reveal", page{Title: "What message " + p.ID.String() + " carries", Active: "messages", Body: p})
}

func (d *Dashboard) revealPage(w http.ResponseWriter, r *http.Request, s *session) error {
	m, err := d.toReveal(r, s.who())
	if err != nil {
		return err
	}
	p := revealPage{MessageInfo: m, Reason: strings.TrimSpace(r.PostFormValue("reason"))}
	if _, p.Wrong = checkReason(p.Reason, false); p.Wrong != "" {
		p.Reason = ""
		return d.showReveal(w, s, http.StatusBadRequest, p)
	}
	got, err := d.reveal(r.Context(), s.who(), m.ID, d.byPerson(r, s, p.Reason))
	if err != nil {
		return err
	}
	p.Shown, p.Body = &got, bodyOf(got.Payload)
	return d.showReveal(w, s, http.StatusOK, p)
}

// apiReveals is the route of the API that does the same.
func (d *Dashboard) apiReveals() []apiRoute {
	return []apiRoute{{method: "POST", pattern: "/messages/{id}/reveal", role: payload, summary: "Show headers and payload, masked, after a row of the activity log; the answer is never kept under an " + onceHeader,
		unkept: true, body: reasonBody{}, code: http.StatusOK, kind: "Revealed", shape: view.Revealed{}, serve: d.apiReveal}}
}

func (d *Dashboard) apiReveal(_ http.ResponseWriter, r *http.Request) (any, error) {
	by, err := d.byReason(r, false)
	if err != nil {
		return nil, err
	}
	m, err := d.toReveal(r, asker(r))
	if err != nil {
		return nil, err
	}
	s, err := d.reveal(r.Context(), asker(r), m.ID, by)
	if err != nil {
		return nil, err
	}
	v := view.Revealed{ID: s.ID.String(), Activity: fmt.Sprint(s.Activity), Topic: s.Topic, ContentType: s.ContentType, Bytes: s.Size, Tombstone: s.Absent, Headers: map[string]string{}, Masked: s.Masked, Hidden: s.Hidden}
	for _, h := range s.Headers {
		v.Headers[h.Name] = h.Value
	}
	switch {
	case s.Hidden != "" || s.Absent:
	case isText(s.Payload):
		v.Encoding, v.Payload = "text", string(s.Payload)
	default:
		v.Encoding, v.Payload = "base64", base64.StdEncoding.EncodeToString(s.Payload)
	}
	return view.OfItem("Revealed", v), nil
}
