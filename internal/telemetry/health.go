package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waybillmq/waybill/relay"
)

// progressWithin is how long a loop may make no progress and still be alive; waiting counts as progress.
const progressWithin = 30 * time.Second

// readyWithin bounds the question to the database that a standby answers.
const readyWithin = 2 * time.Second

// Health is what the probes ask.
type Health struct {
	Status   func() relay.Status         // of the relay; nil = it is not built yet
	Database func(context.Context) error // asked by a standby only; nil = not connected yet
}

// answer of a probe, as JSON shows it with ?verbose.
type answer struct {
	Status  string   `json:"status"` // ok or failed
	Role    string   `json:"role"`   // owner, standby or starting
	Epoch   int64    `json:"epoch,omitempty,string"`
	Reasons []string `json:"reasons"`
}

// Handler serves metrics at path and the probes /livez, /readyz, /startupz and /degradedz. Only the last fails because a broker is down: it is for people and
// dashboards, not for a supervisor. Only a standby's /readyz and /degradedz ask the database.
func (t *Telemetry) Handler(path string, h func() Health) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+path, promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	probe := func(reasons func(context.Context, Health, relay.Status) []string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			health := h()
			st := relay.Status{}
			if health.Status != nil {
				st = health.Status()
			}
			write(w, r, health, st, reasons(r.Context(), health, st))
		}
	}
	mux.Handle("GET /livez", probe(func(_ context.Context, _ Health, st relay.Status) []string { return stuck(st, time.Now()) }))
	mux.Handle("GET /readyz", probe(unready))
	mux.Handle("GET /degradedz", probe(func(ctx context.Context, h Health, st relay.Status) []string {
		if !st.Owner {
			return unready(ctx, h, st) // the rest is the owner's to say
		}
		return degraded(st, t.counted())
	}))
	mux.Handle("GET /startupz", probe(func(context.Context, Health, relay.Status) []string { return nil }))
	return mux
}

// stuck names the loops without progress.
func stuck(st relay.Status, now time.Time) []string {
	var reasons []string
	for name, beat := range st.Beats {
		if d := now.Sub(beat); d > progressWithin {
			reasons = append(reasons, fmt.Sprintf("no-progress:%s:%s", name, d.Round(time.Second)))
		}
	}
	slices.Sort(reasons)
	return reasons
}

// degraded names what works worse than it should for an owner: nothing of it is lost, and all of it wants a look. What only the database knows is as of the
// last count.
func degraded(st relay.Status, counts Counts) []string {
	var reasons []string
	for _, d := range st.Destinations {
		switch {
		case d.Stopped != nil:
			reasons = append(reasons, "paused:"+d.Name)
		case d.Paused:
			reasons = append(reasons, "config:"+d.Name)
		case d.BreakerOpen:
			reasons = append(reasons, "breaker:"+d.Name)
		case len(d.Topics) > 0:
			reasons = append(reasons, fmt.Sprintf("config-topics:%s:%d", d.Name, len(d.Topics)))
		case d.Refused > 0:
			reasons = append(reasons, fmt.Sprintf("refused-lanes:%s:%d", d.Name, d.Refused))
		}
		if !d.CacheFull.IsZero() {
			reasons = append(reasons, "cache-full:"+d.Name)
		}
	}
	if st.ClosedKeys > 0 {
		reasons = append(reasons, fmt.Sprintf("blocked-keys:%d", st.ClosedKeys))
	}
	dead := 0.0
	for _, held := range counts.Held {
		dead += held[relay.Dead]
	}
	if dead > 0 {
		reasons = append(reasons, fmt.Sprintf("dead:%.0f", dead))
	}
	if counts.TooOld > 0 {
		reasons = append(reasons, "stuck:"+counts.TooOld.String())
	}
	if !counts.At.IsZero() && counts.Ahead < 1 {
		reasons = append(reasons, "partitions")
	}
	if !counts.At.IsZero() && counts.Relays < 2 {
		reasons = append(reasons, "no-standby")
	}
	return reasons
}

// unready says why this process is neither owner nor a standby that could become one.
func unready(ctx context.Context, h Health, st relay.Status) []string {
	switch {
	case st.Owner:
		return nil
	case st.Refused != nil:
		return []string{"refused: " + st.Refused.Error()}
	case h.Database == nil:
		return []string{"starting"}
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if err := h.Database(ctx); err != nil {
		return []string{"database: " + err.Error()}
	}
	return nil
}

func write(w http.ResponseWriter, r *http.Request, h Health, st relay.Status, reasons []string) {
	a := answer{Status: "ok", Role: "standby", Epoch: int64(st.Epoch), Reasons: reasons}
	if reasons == nil {
		a.Reasons = []string{}
	}
	switch {
	case st.Owner:
		a.Role = "owner"
	case h.Status == nil || h.Database == nil:
		a.Role = "starting"
	}
	code := http.StatusOK
	if len(reasons) > 0 {
		a.Status, code = "failed", http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	if !r.URL.Query().Has("verbose") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		fmt.Fprintln(w, a.Status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(a) // the client has gone
}
