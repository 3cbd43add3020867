package alerts

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// MinSecret is the fewest bytes of a secret: guessing one is then hopeless.
const MinSecret = 32

// SignatureHeader carries "t=<seconds>,v1=<hex>": the HMAC-SHA256, by the secret, of the seconds, a dot and the body. A receiver refuses what is old.
const SignatureHeader = "Waybill-Signature"

// Options say where alerts go.
type Options struct {
	Outbox  string
	URL     string // http or https
	Secret  func() (string, error)
	Base    string                   // address of the dashboard, without a slash at its end; empty = posts carry no link
	Timeout time.Duration            // of one post
	GaveUp  func(e Event, err error) // an event was lost after its last try, or because too many waited. May be nil
	Failed  func(err error)          // a post failed and is tried again. May be nil
}

// Sender posts events one after the other, each up to eight times within half an hour. Safe for concurrent use.
type Sender struct {
	o      Options
	client *http.Client
	wake   chan struct{}

	mu    sync.Mutex
	queue queue
}

// NewSender checks where alerts are to go. Its errors are sentences for people and hold neither the address nor the secret.
func NewSender(o Options) (*Sender, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("alerts.webhook.url is no address: write https://host/path")
	}
	secret, err := o.Secret()
	if err != nil {
		return nil, fmt.Errorf("alerts.webhook.secret: %w", err)
	}
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("alerts.webhook.secret has %d bytes; it needs %d or more", len(secret), MinSecret)
	}
	// What is signed goes to the configured address and nowhere else.
	client := &http.Client{Timeout: o.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &Sender{o: o, client: client, wake: make(chan struct{}, 1)}, nil
}

// Send queues events. It does not block.
func (s *Sender) Send(events ...Event) {
	for _, e := range events {
		s.mu.Lock()
		ok := s.queue.put(e)
		s.mu.Unlock()
		if !ok {
			s.lost(e, errors.New("too many alerts wait to be posted"))
		}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run posts until ctx ends; what waits then is lost.
func (s *Sender) Run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		s.mu.Lock()
		w, wait, ok := s.queue.take(time.Now())
		s.mu.Unlock()
		if ok {
			s.try(ctx, w)
			continue
		}
		if wait < 0 {
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
	}
}

func (s *Sender) try(ctx context.Context, w waiting) {
	err := s.Post(ctx, w.Event)
	if err == nil || ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	kept := s.queue.again(w, time.Now(), rand.Float64())
	s.mu.Unlock()
	if !kept {
		s.lost(w.Event, err)
	} else if s.o.Failed != nil {
		s.o.Failed(err)
	}
}

func (s *Sender) lost(e Event, err error) {
	if s.o.GaveUp != nil {
		s.o.GaveUp(e, err)
	}
}

// post is the body of a request, a contract for receivers.
type post struct {
	Kind        string    `json:"kind"` // Alert
	Version     int       `json:"version"`
	ID          string    `json:"id"` // the same for all posts of an alert
	Status      Status    `json:"status"`
	Outbox      string    `json:"outbox"`
	Rule        Rule      `json:"rule"`
	Destination string    `json:"destination,omitempty"`
	Failure     string    `json:"failure,omitempty"`
	Headline    string    `json:"headline"`
	Count       string    `json:"count,omitempty"`
	Since       time.Time `json:"since,omitzero"`
	At          time.Time `json:"at"`
	Until       time.Time `json:"until,omitzero"`
	Link        string    `json:"link,omitempty"`
	Next        string    `json:"next,omitempty"`
}

func (s *Sender) body(e Event) ([]byte, error) {
	p := post{Kind: "Alert", Version: 1, ID: s.o.Outbox + "/" + e.ID(), Status: e.Status, Outbox: s.o.Outbox, Rule: e.Rule, Destination: e.Destination, Failure: e.Failure,
		Headline: e.Headline, Since: e.Since.UTC(), At: e.At.UTC(), Until: e.Until.UTC(), Next: e.Next}
	if e.Count > 0 {
		p.Count = e.Count.String()
	}
	if s.o.Base != "" && e.Page != "" {
		p.Link = s.o.Base + e.Page
	}
	return json.Marshal(p)
}

// maxAnswer bounds what is read of an answer: enough to use the connection again.
const maxAnswer = 64 << 10

// Post sends one event once. The error names neither address nor secret; whatever is not 2xx is one.
func (s *Sender) Post(ctx context.Context, e Event) error {
	body, err := s.body(e)
	if err != nil {
		return err
	}
	secret, err := s.o.Secret()
	if err != nil {
		return fmt.Errorf("alerts.webhook.secret: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("alerts.webhook.url is no address")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "waybill")
	req.Header.Set(SignatureHeader, Sign(secret, time.Now(), body))
	res, err := s.client.Do(req)
	if err != nil {
		var at *url.Error // its text has the address, which may hold a token
		if errors.As(err, &at) {
			err = at.Err
		}
		return fmt.Errorf("the webhook cannot be reached: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered %d %s", res.StatusCode, http.StatusText(res.StatusCode))
	}
	return nil
}

// Sign returns the value of SignatureHeader for a body that is sent at that time.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Trial is the event of a test: nothing is wrong.
func Trial(now time.Time) Event {
	return Event{Status: Test, At: now, Condition: Condition{Rule: "test", Headline: "a test: alerts of this outbox arrive here", Since: now, Page: "/doctor", Next: "waybill doctor"}}
}
