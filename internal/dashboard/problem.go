package dashboard

import (
	"net/http"

	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

// problem is an error of the API, as RFC 9457 has it.
type problem struct {
	Type   string `json:"type"` // stable; where it leads says what it means
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"` // a sentence for a person: what failed, why, what to do
}

// problemTypes are all types of problems, and what each means for a program.
var problemTypes = map[string]string{
	"invalid-filter":       "The filter cannot be read. Correct it; the same request fails again.",
	"invalid-parameter":    "A parameter of the query is unknown, missing or out of its range.",
	"invalid-body":         "The body is no JSON, too large, has a field that is unknown, or one out of its range.",
	"reason-required":      "The act gives something up or breaks an order and needs a reason, which the activity log keeps.",
	"confirm-required":     "The plan means many messages: confirm must be their number.",
	"unauthenticated":      "The token, or the name with its password, is missing or wrong.",
	"forbidden":            "Who asks lacks the role, the database's login lacks the right, or the request came from a page of another site.",
	"read-only":            "Nobody can act here: it is configured so, or there is no token.",
	"not-found":            "There is no such path, message, key, failure, destination or operation, or it is no longer there.",
	"method-not-allowed":   "The path is there, and does not take this method; the header Allow has those that it takes.",
	"state-changed":        "It is in a state in which that cannot be done; somebody else may have acted. Nothing was changed: look again.",
	"busy":                 "Somebody else had it in hand. Nothing was changed: try again in a few seconds.",
	"idempotency-running":  "A request with the same Idempotency-Key has not ended yet: ask again after the seconds of the header Retry-After.",
	"idempotency-conflict": "The Idempotency-Key was used for another request in the last 24 hours. Nothing was changed.",
	"too-large":            "The payload is larger than what is shown. Nothing was shown, and nothing written down.",
	"too-many-items":       "The filter means more messages than a plan may have, or too much is planned already.",
	"host-not-allowed":     "The name in the header Host is not one of this listener's.",
	"rate-limited":         "Too many requests at once, or too many wrong passwords: try again after the seconds of the header Retry-After.",
	"timeout":              "It took too long, and nothing was changed.",
	"configuration":        "Something must be changed before this can be answered; the detail says what.",
	"database-down":        "The database did not answer. Of an act this means that perhaps it was done: look before repeating.",
}

// problemKind says what a type of problem means.
type problemKind struct {
	Type  string `json:"type"`
	Means string `json:"means"`
}

func (d *Dashboard) apiProblem(_ http.ResponseWriter, r *http.Request) (any, error) {
	name := r.PathValue("type")
	means, ok := problemTypes[name]
	if !ok {
		return nil, relay.ErrNotFound
	}
	return view.OfItem("Problem", problemKind{problemURI(name), means}), nil
}

func problemURI(name string) string { return apiBase + "/problems/" + name }

func writeProblem(w http.ResponseWriter, f *failure) {
	w.Header().Set("Content-Type", "application/problem+json")
	switch {
	case f.Type == "idempotency-running":
		w.Header().Set("Retry-After", "1")
	case f.Code == http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "60")
	case f.Code == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="waybill"`)
	}
	w.WriteHeader(f.Code)
	_ = view.Encode(w, problem{problemURI(f.Type), f.Title, f.Code, f.Text}) // the client has gone
}
