package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/waybillmq/waybill/relay"
)

// act is something that a person can do to a message.
type act struct {
	Name   string // in the address
	Verb   string // on the button
	Hint   string // what it means, in a few words
	Reason bool   // needs one
	Danger bool
}

var (
	retry   = act{Name: "retry", Verb: "Retry", Hint: "send it again now"}
	skip    = act{Name: "skip", Verb: "Skip", Hint: "let its key go on without it", Reason: true, Danger: true}
	discard = act{Name: "discard", Verb: "Discard", Hint: "give it up for good", Reason: true, Danger: true}
)

var acts = []act{retry, skip, discard}

// actNamed finds the act of an address.
func actNamed(name string) (act, error) {
	if i := slices.IndexFunc(acts, func(a act) bool { return a.Name == name }); i >= 0 {
		return acts[i], nil
	}
	return act{}, &failure{"not-found", http.StatusNotFound, "Not found", "There is no such act."}
}

// actsOn lists what applies to a message as it is.
func actsOn(m *relay.MessageInfo) (can []act) {
	if m.Sending {
		return nil
	}
	held := m.State == relay.StateDead || m.Detail == string(relay.Retrying) || m.Detail == string(relay.Blocked)
	if m.State == relay.StateDead || m.State == relay.StateDiscarded || m.Detail == string(relay.Retrying) {
		can = append(can, retry)
	}
	if m.State == relay.StateDead && m.Key != "" && !m.Passed {
		can = append(can, skip)
	}
	if held {
		can = append(can, discard)
	}
	return can
}

// effects says, before it is done, what an act will do.
func effects(a act, m *relay.MessageInfo) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	waits := m.Behind > 0 && !m.Passed
	switch {
	case a == retry && m.State == relay.StateDiscarded:
		say("It comes back and is sent now, with the same bytes and the same message id.")
		say("It is out of order: later messages of its key went first.")
	case a == retry:
		say("It is tried again now, with the same bytes, the same message id and new attempts.")
		if waits {
			say("%s of its key wait behind it. They follow in order once it is sent.", plural(m.Behind, "message", "messages"))
		}
		if m.Outcome == "rejected" {
			say("The broker rejected it. Unless the cause is gone, it rejects it again, and nothing else changes.")
		} else if m.Outcome == "unknown" {
			say("An earlier attempt had no answer: it may lie at the broker already. Consumers see the same message id twice then.")
		}
	case a == skip:
		say("It stays dead, and can still be retried or discarded later.")
		say("Its key goes on without it: the order of this key is broken at this place.")
	case a == discard:
		say("It is given up and never sent.")
		say("Retry takes it back while its row exists; it is then out of order.")
	}
	if a != retry && waits {
		say("%s of its key wait behind it. They go on, in order.", plural(m.Behind, "message", "messages"))
	} else if a != retry && m.Key != "" {
		say("No other message of its key waits behind it.")
	}
	return lines
}

type actPage struct {
	relay.MessageInfo
	Act     act
	Effects []string
	Seen    string // the state that the person decided on
	Reason  string
	Wrong   string
}

// maxReason is as much as a person needs.
const maxReason = 500

// seen names what an act was decided on: when it has changed meanwhile, the person looks again.
func seen(m *relay.MessageInfo) string { return fmt.Sprint(label(m.MessageRow), " ", m.Passed) }

func (d *Dashboard) actForm(w http.ResponseWriter, r *http.Request, s *session) error {
	m, a, err := d.actOn(r)
	if err != nil {
		return err
	}
	return d.showAct(w, s, http.StatusOK, m, a, "", "")
}

func (d *Dashboard) showAct(w http.ResponseWriter, s *session, code int, m relay.MessageInfo, a act, reason, wrong string) error {
	return d.show(w, s, code, "act", page{Title: a.Verb + " message " + m.ID.String(), Active: "messages",
		Body: actPage{MessageInfo: m, Act: a, Effects: effects(a, &m), Seen: seen(&m), Reason: reason, Wrong: wrong}})
}

// actOn finds the message and the act of the address; an act that does not apply to the message as it is now is refused.
func (d *Dashboard) actOn(r *http.Request) (m relay.MessageInfo, a act, err error) {
	if a, err = actNamed(r.PathValue("act")); err != nil {
		return m, a, err
	}
	m, err = d.findFor(r, a)
	return m, a, err
}

// findFor finds the message of the path, to which the act must apply.
func (d *Dashboard) findFor(r *http.Request, a act) (relay.MessageInfo, error) {
	m, err := d.find(r)
	if err == nil && !slices.Contains(actsOn(&m), a) {
		err = &failure{"state-changed", http.StatusConflict, a.Verb + " does not apply", fmt.Sprintf("Nothing was changed: message %d is %s now%s. Look at it again: somebody else may have acted, or the relay went on.",
			m.ID, label(m.MessageRow), map[bool]string{true: " and being sent"}[m.Sending])}
	}
	return m, err
}

// checkReason says what is wrong with a reason; empty = nothing.
func checkReason(reason string, needed bool) (kind, wrong string) {
	switch {
	case needed && reason == "":
		return "reason-required", "Write why: the activity log keeps it for those who come after you."
	case utf8.RuneCountInString(reason) > maxReason || !utf8.ValidString(reason) || strings.ContainsRune(reason, 0):
		return "invalid-body", fmt.Sprintf("A reason has at most %d characters.", maxReason)
	}
	return "", ""
}

func (d *Dashboard) act(w http.ResponseWriter, r *http.Request, s *session) error {
	m, a, err := d.actOn(r)
	if err != nil {
		return err
	}
	reason := strings.TrimSpace(r.PostFormValue("reason"))
	_, wrong := checkReason(reason, a.Reason)
	switch {
	case wrong != "":
		return d.showAct(w, s, http.StatusBadRequest, m, a, "", wrong)
	case r.PostFormValue("seen") != seen(&m):
		return d.showAct(w, s, http.StatusConflict, m, a, reason, "Nothing was changed: the message is "+label(m.MessageRow)+" now, which it was not when you looked. If you still want it, confirm again.")
	}
	got, err := d.carryOut(r.Context(), a, m.ID, d.byPerson(r, s, reason))
	if err != nil {
		return err
	}
	d.sessions.say(s, fmt.Sprintf("%s of message %d is done (activity %d).", a.Verb, m.ID, got.Activity))
	http.Redirect(w, r, "/messages/"+m.ID.String(), http.StatusSeeOther)
	return nil
}

// carryOut acts on one message. An act that changed nothing is an error.
func (d *Dashboard) carryOut(ctx context.Context, a act, id relay.ID, by relay.Act) (relay.Acted, error) {
	do := map[act]func(context.Context, []relay.ID, relay.Act) (relay.Acted, error){retry: d.Operator.Retry, skip: d.Operator.Skip, discard: d.Operator.Discard}[a]
	got, err := do(ctx, []relay.ID{id}, by)
	d.state.changed()
	if err == nil && got.Changed == 0 {
		err = &failure{"state-changed", http.StatusConflict, "Nothing was changed", fmt.Sprintf("Message %d moved on in the same moment: %s. Look at it again.", id, whyUnchanged(got))}
	}
	return got, err
}

func whyUnchanged(got relay.Acted) string {
	switch {
	case got.Sending > 0:
		return "it is being sent"
	case got.Other > 0:
		return "it is in another state"
	}
	return "it is no longer held"
}
