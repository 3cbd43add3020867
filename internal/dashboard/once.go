package dashboard

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"regexp"

	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

// onceHeader is how a program says that a request may be the second try of one whose answer it did not get.
const onceHeader = "Idempotency-Key"

const maxOnceKey = 64

var onceKeys = regexp.MustCompile(`^[!-~]{1,64}$`)

// answerOnce answers a request that carries a key: the first time by what it asks for, then with the same bytes. What is refused is not kept, since nothing was done.
func (d *Dashboard) answerOnce(rt apiRoute, w http.ResponseWriter, r *http.Request) {
	a, err := d.once(rt, r)
	if err != nil {
		writeProblem(w, d.failureOf(r, err))
		return
	}
	d.state.changed() // whoever asked between the act and its commit has seen what was before
	if a.Location != "" {
		w.Header().Set("Location", a.Location)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Code)
	_, _ = w.Write(a.Body) // the client has gone
}

func (d *Dashboard) once(rt apiRoute, r *http.Request) (relay.Answered, error) {
	keys := r.Header.Values(onceHeader)
	if len(keys) != 1 || !onceKeys.MatchString(keys[0]) {
		return relay.Answered{}, wrongParameter("the header " + onceHeader + " is one key of 1 to 64 visible ASCII characters")
	}
	if d.Once == nil {
		return relay.Answered{}, wrongParameter("the header " + onceHeader + " is not kept here: leave it out")
	}
	by, err := d.byProgram(r, "")
	if err != nil {
		return relay.Answered{}, err
	}
	body, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	if err != nil && !errors.As(err, &long) { // one that is too long is refused where it is read as JSON
		return relay.Answered{}, wrongBody("it did not arrive whole")
	}
	asked := relay.Asked{Actor: by.Actor, Key: keys[0], Request: sha256.Sum256([]byte(r.Method + "\n" + r.URL.Path + "\n" + string(body)))}
	return d.Once.Once(r.Context(), asked, func(ctx context.Context) (relay.Answered, error) {
		again := r.WithContext(ctx)
		again.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), ending{err}))
		head := headers{}
		answer, err := rt.serve(head, again)
		if err != nil {
			return relay.Answered{}, err
		}
		var b bytes.Buffer
		err = view.Encode(&b, answer)
		return relay.Answered{Code: rt.code, Location: http.Header(head).Get("Location"), Body: b.Bytes()}, err
	})
}

// ending ends a body as the first reading of it did.
type ending struct{ err error }

func (e ending) Read([]byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	return 0, io.EOF
}

// headers is what a handler sees of an answer that is kept: only the table and its result write one.
type headers http.Header

// Header implements http.ResponseWriter.
func (h headers) Header() http.Header { return http.Header(h) }

// WriteHeader implements http.ResponseWriter.
func (h headers) WriteHeader(int) { panic("dashboard: an API handler wrote a status by itself") }

// Write implements http.ResponseWriter.
func (h headers) Write([]byte) (int, error) { panic("dashboard: an API handler wrote by itself") }
