package dashboard

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/relay"
)

// checkups keeps the doctor's newest findings for all viewers: every round asks all brokers.
type checkups struct {
	asking chan struct{} // one slot, taken for a whole round

	mu   sync.Mutex
	last checkup
}

// checkup is one round.
type checkup struct {
	At       time.Time // when it ended; zero = there was none
	Findings []doctor.Finding
	Err      error
}

const (
	roundEvery = 10 * time.Second
	roundLimit = 15 * time.Second // below the time in which an answer must be written
)

func (l *checkups) newest() checkup {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// get returns findings of the last seconds. While somebody asks, the others see those of the round before, if there was one.
func (l *checkups) get(ctx context.Context, ask func(context.Context) ([]doctor.Finding, error)) checkup {
	last := l.newest()
	switch {
	case last.At.IsZero():
		l.asking <- struct{}{}
	case time.Since(last.At) < roundEvery:
		return last
	default:
		select {
		case l.asking <- struct{}{}:
		default:
			return last
		}
	}
	defer func() { <-l.asking }()
	if c := l.newest(); c.At != last.At { // somebody was faster
		return c
	}
	// The answer is for everybody who waits, also when the one who asked first has gone.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundLimit)
	defer cancel()
	found, err := ask(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = checkup{At: time.Now(), Findings: found, Err: err}
	return l.last
}

type doctorPage struct {
	checkup
	Headline headline
	Webhook  bool             // there is one to try
	Open     []doctor.Finding // what needs a person, the gravest first
	Well     []doctor.Finding
}

func (d *Dashboard) doctor(w http.ResponseWriter, r *http.Request, s *session) error {
	p := doctorPage{checkup: d.checked.get(r.Context(), d.Doctor), Webhook: d.TryAlert != nil}
	if p.Err != nil {
		return p.Err
	}
	for _, f := range p.Findings {
		if f.Level == relay.LevelOK {
			p.Well = append(p.Well, f)
		} else {
			p.Open = append(p.Open, f)
		}
	}
	switch doctor.Worst(p.Findings) {
	case relay.LevelFail:
		p.Headline = headline{Title: "Something does not keep its promise", Tone: "bad"}
	case relay.LevelWarn:
		p.Headline = headline{Title: "It works, and could be better", Tone: "warn"}
	case relay.LevelUnseen:
		p.Headline = headline{Title: "Not everything could be looked at", Tone: "warn"}
	default:
		p.Headline = headline{Title: "Everything is set up as it must be", Tone: "good"}
	}
	return d.show(w, s, http.StatusOK, "doctor", page{Title: "Doctor", Active: "doctor", Body: p})
}

// tryAlert posts a test to the webhook. It changes nothing here.
func (d *Dashboard) tryAlert(w http.ResponseWriter, r *http.Request, s *session) error {
	if err := d.TryAlert(r.Context()); err != nil {
		return &failure{"unreachable", http.StatusBadGateway, "The test did not arrive", err.Error()}
	}
	d.sessions.say(s, "The webhook took the test.")
	http.Redirect(w, r, "/doctor", http.StatusSeeOther)
	return nil
}

// levelTones are the looks of a level.
var levelTones = map[relay.Level]string{relay.LevelFail: "bad", relay.LevelWarn: "warn", relay.LevelOK: "good"}
