package dashboard

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/relay"
)

// However many look, the brokers are asked once in ten seconds, and nobody waits for a round while there is an older one to show.
func TestCheckupsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := checkups{asking: make(chan struct{}, 1)}
		var asked atomic.Int32
		ask := func(ctx context.Context) ([]doctor.Finding, error) {
			asked.Add(1)
			select {
			case <-time.After(3 * time.Second):
				return []doctor.Finding{{Effect: "seen"}}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		gone, leave := context.WithCancel(t.Context())
		leave() // the first one closes the page
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if c := l.get(gone, ask); c.Err != nil || len(c.Findings) != 1 {
					t.Errorf("%+v", c)
				}
			})
		}
		wg.Wait()
		if asked.Load() != 1 {
			t.Errorf("100 viewers asked %d times", asked.Load())
		}
		first := l.newest().At
		time.Sleep(roundEvery)
		wg.Go(func() { l.get(t.Context(), ask) })
		synctest.Wait()
		began := time.Now()
		if c := l.get(t.Context(), ask); c.At != first || time.Since(began) > 0 {
			t.Errorf("a viewer waited %s for the round of %s", time.Since(began), c.At)
		}
		wg.Wait()
		if c := l.get(t.Context(), ask); c.At == first || asked.Load() != 2 {
			t.Errorf("after the second round: %+v, asked %d times", c, asked.Load())
		}
		time.Sleep(roundEvery)
		hung := l.get(t.Context(), func(ctx context.Context) ([]doctor.Finding, error) { <-ctx.Done(); return nil, ctx.Err() })
		if !errors.Is(hung.Err, context.DeadlineExceeded) {
			t.Errorf("a round without end: %+v", hung)
		}
	})
}

func TestDoctorHeadlines(t *testing.T) {
	d := newDesk(t, nil)
	for level, want := range map[relay.Level]string{relay.LevelFail: "Something does not keep its promise", relay.LevelWarn: "It works, and could be better",
		relay.LevelUnseen: "Not everything could be looked at", relay.LevelOK: "Everything is set up as it must be"} {
		d.findings = []doctor.Finding{{Area: doctor.Relay, Finding: relay.Finding{ID: "relay.owner", Level: level, Subject: "outbox", Text: "text"}}}
		d.checked.last = checkup{}
		if body := d.browser().get("/doctor").Body.String(); !strings.Contains(body, want) || !strings.Contains(body, "relay.owner") {
			t.Errorf("%s: %s", level, body)
		}
	}
}

func TestAlertsAreTried(t *testing.T) {
	d := newDesk(t, nil)
	if body := d.browser().get("/doctor").Body.String(); strings.Contains(body, "<form method=\"post\" action=\"/doctor/alert\"") || !strings.Contains(body, "sign in") {
		t.Errorf("a stranger: %s", body)
	}
	b := d.browser().signIn()
	form := b.form("/doctor")
	if res := b.post("/doctor/alert", form); res.Code != http.StatusSeeOther || d.tried != 1 {
		t.Errorf("%d, tried %d times", res.Code, d.tried)
	}
	if body := b.get("/doctor").Body.String(); !strings.Contains(body, "The webhook took the test.") {
		t.Error(body)
	}
	d.alertErr = errors.New("the webhook answered 404 Not Found")
	if res := b.post("/doctor/alert", form); res.Code != http.StatusBadGateway || !strings.Contains(res.Body.String(), "the webhook answered 404 Not Found") {
		t.Errorf("%d: %s", res.Code, res.Body)
	}
	without := newDesk(t, func(o *Options) { o.TryAlert = nil })
	b = without.browser().signIn()
	if body := b.get("/doctor").Body.String(); strings.Contains(body, "webhook") || b.post("/doctor/alert", form).Code != http.StatusNotFound {
		t.Errorf("without a webhook: %s", body)
	}
}
