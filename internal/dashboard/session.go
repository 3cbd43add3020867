package dashboard

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"regexp"
	"sync"
	"time"
)

// session is somebody who has signed in. Its fields are fixed but for seen and notice.
type session struct {
	person
	form   string // every form of the session carries it
	opened time.Time

	seen   time.Time // under the mutex of sessions
	notice string    // shown once, on the next page; under the mutex of sessions
}

const (
	sessionIdle = 30 * time.Minute
	sessionMost = 12 * time.Hour
	maxSessions = 100
)

// who is nobody where there is no session.
func (s *session) who() person {
	if s == nil {
		return person{}
	}
	return s.person
}

// sessions lie in memory: a new start ends them all. They are found by a hash, so that the time of the search says nothing about a session's id.
type sessions struct {
	mu   sync.Mutex
	open map[string]*session
}

func sessionKey(id string) string {
	h := sha256.Sum256([]byte(id))
	return string(h[:])
}

// of returns the session of a request, nil when there is none or it has ended.
func (l *sessions) of(r *http.Request, cookie string) *session {
	c, err := r.Cookie(cookie)
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.open[sessionKey(c.Value)]
	if s == nil {
		return nil
	}
	now := time.Now()
	if now.Sub(s.seen) > sessionIdle || now.Sub(s.opened) > sessionMost {
		delete(l.open, sessionKey(c.Value))
		return nil
	}
	s.seen = now
	return s
}

// lives says whether a session goes on. Unlike a request it does not keep it from ending.
func (l *sessions) lives(s *session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, open := range l.open {
		if open == s {
			return time.Since(s.seen) <= sessionIdle && time.Since(s.opened) <= sessionMost
		}
	}
	return false
}

// start opens a session under a new id, never under one that came from outside. When there are too many, the one that was idle longest ends.
func (l *sessions) start(p person) (id string) {
	id, _ = l.begin(p)
	return id
}

func (l *sessions) begin(p person) (id string, s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= maxSessions {
		own := func(s *session) bool { return p.proxied && s.proxied && s.name == p.name } // first: whoever comes without cookies ends nobody else's
		var oldest string
		for k, s := range l.open {
			if o := l.open[oldest]; oldest == "" || own(s) && !own(o) || own(s) == own(o) && s.seen.Before(o.seen) {
				oldest = k
			}
		}
		delete(l.open, oldest)
	}
	id = rand.Text()
	now := time.Now()
	s = &session{person: p, form: rand.Text(), opened: now, seen: now}
	l.open[sessionKey(id)] = s
	return id, s
}

func (l *sessions) end(r *http.Request, cookie string) {
	if c, err := r.Cookie(cookie); err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, sessionKey(c.Value))
	}
}

// say leaves a notice for the next page.
func (l *sessions) say(s *session, notice string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.notice = notice
}

func (l *sessions) takeNotice(s *session) (notice string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	notice, s.notice = s.notice, ""
	return notice
}

// cookieName differs by outbox: two dashboards on one host do not end each other's sessions. With its prefix browsers take it from https alone, and for this host alone.
func (d *Dashboard) cookieName() string {
	if d.Secure {
		return "__Host-waybill-" + d.Outbox
	}
	return "waybill-" + d.Outbox
}

func (d *Dashboard) setCookie(w http.ResponseWriter, id string, age int) {
	http.SetCookie(w, &http.Cookie{Name: d.cookieName(), Value: id, Path: "/", MaxAge: age, HttpOnly: true, Secure: d.Secure, SameSite: http.SameSiteStrictMode})
}

// personName is what a name is; the blank that it lacks keeps names apart from what the activity log says behind them.
var personName = regexp.MustCompile(`^[\pL\pN._@-]{1,40}$`)

type loginPage struct {
	Next, Name, Wrong string
	Closed            string // why nobody can sign in
	Passwords, Tokens bool   // there are some
	Locked            bool   // nobody looks without a name
	Broken            string // why no name opens anything
}

func (d *Dashboard) loginForm(w http.ResponseWriter, r *http.Request, s *session) error {
	return d.loginAnswer(w, s, http.StatusOK, loginPage{Next: localPath(r.URL.Query().Get("next"))})
}

func (d *Dashboard) loginAnswer(w http.ResponseWriter, s *session, code int, p loginPage) error {
	p.Broken = d.NoLogins
	p.Locked, p.Passwords, p.Tokens = d.Logins != nil, d.Logins != nil && d.Logins.hardest != nil, d.Token != "" || d.Logins != nil && len(d.Logins.tokens) > 0
	if !p.Passwords && !p.Tokens {
		p.Closed = cmp.Or(d.NoLogins, d.NoToken)
	}
	return d.show(w, s, code, "login", page{Title: "Sign in", Body: p})
}

func (d *Dashboard) login(w http.ResponseWriter, r *http.Request, s *session) error {
	p := loginPage{Next: localPath(r.PostFormValue("next")), Name: r.PostFormValue("name")}
	var who person
	var code int
	if r.PostForm.Has("password") {
		who, code, p.Wrong = d.loginByPassword(r)
	} else {
		who, code, p.Wrong = d.loginByToken(r, p.Name)
	}
	if p.Wrong != "" {
		return d.loginAnswer(w, s, code, p)
	}
	d.sessions.end(r, d.cookieName())
	d.setCookie(w, d.sessions.start(who), int(sessionMost/time.Second))
	http.Redirect(w, r, p.Next, http.StatusSeeOther)
	return nil
}

func (d *Dashboard) loginByPassword(r *http.Request) (p person, code int, wrong string) {
	p, err := d.Logins.byPassword(r.Context(), r.PostFormValue("user"), r.PostFormValue("password"), remote(r))
	if err == nil {
		return p, 0, ""
	}
	d.Log.Warn("a login to the dashboard was refused", "cause", err.Type, "address", remote(r))
	if code = err.Code; code == http.StatusUnauthorized { // which would need a header that makes browsers ask by themselves
		code = http.StatusForbidden
	}
	return p, code, err.Text
}

func (d *Dashboard) loginByToken(r *http.Request, name string) (p person, code int, wrong string) {
	p, ok := d.byToken(r.PostFormValue("token"))
	switch {
	case !ok:
		d.Log.Warn("a login to the dashboard was refused: wrong token", "address", remote(r))
		return p, http.StatusForbidden, "That is not the token."
	case p.token && name != "" && !personName.MatchString(name):
		return p, http.StatusBadRequest, "A name has 1 to 40 letters, digits and . _ @ -"
	case p.token:
		p.name = name
	}
	return p, 0, ""
}

// byToken finds whose token it is: the one of the token file has no name.
func (d *Dashboard) byToken(token string) (p person, ok bool) {
	if d.Token != "" && same(token, d.Token) {
		return holder(""), true
	}
	return d.Logins.byToken(token)
}

func (d *Dashboard) logout(w http.ResponseWriter, r *http.Request, _ *session) error {
	d.sessions.end(r, d.cookieName())
	d.setCookie(w, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}
