package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// eventsPath is where live pages hear that they are old. What is new they read themselves: an event says nothing.
const eventsPath = "/events"

const (
	streamEvery = time.Second      // how often a stream looks at what all viewers share
	streamFresh = 10 * time.Second // a page that nothing changed on is read again so often: ages grow
	streamWrite = 10 * time.Second // a browser that takes nothing for so long is given up
	streamsEach = 2                // of one person: browsers open six connections to a host, and pages need some
	maxStreams  = 100              // of all, half of the connections; whoever is too many reads again by the clock
)

// streams counts who listens. There is no queue: each stream looks at the newest state when its time comes, and a slow one misses what was in between.
type streams struct {
	mu   sync.Mutex
	each map[string]int
	all  int
	done bool
	end  chan struct{} // closed when no stream may go on
}

// join lets one more in, false when it is too many.
func (l *streams) join(who string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done || l.all >= maxStreams || l.each[who] >= streamsEach {
		return false
	}
	l.all++
	l.each[who]++
	return true
}

func (l *streams) leave(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.each[who]--; l.each[who] == 0 {
		delete(l.each, who)
	}
}

// EndStreams ends every stream of events and lets no new one in: a server that shuts down waits for its answers to end. It does not block.
func (d *Dashboard) EndStreams() {
	d.streams.mu.Lock()
	defer d.streams.mu.Unlock()
	if !d.streams.done {
		d.streams.done = true
		close(d.streams.end)
	}
}

// listener is who listens: a session, else a browser at an address. It bounds, it proves nothing.
func listener(r *http.Request, s *session) string {
	if s != nil {
		return "session " + s.form
	}
	return remote(r) + " " + r.UserAgent()
}

// events tells a page each time that what it shows has changed, until the browser or the relay ends it, or the session that it began with.
func (d *Dashboard) events(w http.ResponseWriter, r *http.Request, s *session) error {
	who := listener(r, s)
	if !d.streams.join(who) {
		w.Header().Set("Retry-After", "60")
		return &failure{"rate-limited", http.StatusServiceUnavailable, "Too many live pages", "This page reads itself again every few seconds instead."}
	}
	defer d.streams.leave(who)
	out := stream{w: w, rc: http.NewResponseController(w)}
	_ = out.rc.SetReadDeadline(time.Time{}) // nothing more is read; a server that has no such deadline needs none lifted
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy that gathers an answer would keep every event
	operations := r.URL.Query().Get("of") == "operations"
	last, sent := r.Header.Get("Last-Event-ID"), time.Now()
	if last == "" {
		last = d.version(r.Context(), operations) // the page is as new as that
	}
	if !out.write("retry: 3000\n\n") || r.Method == http.MethodHead {
		return nil
	}
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	for {
		now := d.version(r.Context(), operations)
		if last != now || time.Since(sent) >= streamFresh {
			if !out.write("id: %s\nevent: changed\ndata:\n\n", now) {
				return nil
			}
			last, sent = now, time.Now()
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-d.streams.end:
			return nil
		case <-tick.C:
		}
		if s != nil && !d.sessions.lives(s) {
			return nil
		}
	}
}

// stream writes events.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// write says whether the browser is still there.
func (o stream) write(format string, args ...any) bool {
	_ = o.rc.SetWriteDeadline(time.Now().Add(streamWrite)) // where there is none, there is no deadline of the whole answer either
	if _, err := fmt.Fprintf(o.w, format, args...); err != nil {
		return false
	}
	return o.rc.Flush() == nil
}

// version names what live pages show now: another one means that something on them is another.
func (d *Dashboard) version(ctx context.Context, operations bool) string {
	st := d.state.get(ctx, d)
	v := st.version()
	if operations {
		v += "-" + d.progress.get(ctx, d)
		if d.Auditor != nil {
			v += "-" + digest(d.Auditor.Running())
		}
	}
	return v
}

// version leaves out what changes by the mere passing of time.
func (s *state) version() string {
	o := s.Overview
	seen := make([]string, len(o.Relays))
	for i, r := range o.Relays {
		seen[i] = r.Instance + r.Version
	}
	statuses := map[string]relay.DestinationStatus{}
	for _, name := range o.Reported() {
		statuses[name], _ = o.Destination(name)
	}
	return digest(s.Err != nil, s.Answer.Verdict, s.Answer.Since, o.Alive, o.Owner, o.Epoch, o.Pending, o.Held, o.Closed, seen, statuses, o.Paused, s.Failures, s.Keys)
}

func digest(parts ...any) string {
	h := fnv.New64a()
	_ = json.NewEncoder(h).Encode(parts) // plain values into memory
	return fmt.Sprintf("%016x", h.Sum64())
}

// progress is how far the newest operations are, read at most once a second for all who watch one.
type progress struct {
	mu   sync.Mutex
	at   time.Time
	last string
}

func (p *progress) get(ctx context.Context, d *Dashboard) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.at) < streamEvery/2 {
		return p.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), snapshotLimit)
	defer cancel()
	rows, err := d.Inspector.Operations(ctx, 0, relay.DefaultPage)
	if err == nil { // else the state says that the database does not answer
		p.last = digest(rows)
	}
	p.at = time.Now()
	return p.last
}
