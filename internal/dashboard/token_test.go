package dashboard

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// S15: the file is made once, for its owner alone; one that is open to others, or holds a password that can be guessed, is not believed.
func TestTokenFile_S15(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "dashboard.token")
	var wg sync.WaitGroup
	tokens := make([]string, 8)
	for i := range tokens {
		wg.Go(func() {
			var err error
			if tokens[i], err = Token(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, token := range tokens {
		if token != tokens[0] || len(token) != len("wbt_")+64 {
			t.Errorf("%q, want %q", token, tokens[0])
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: true, 0o644: false, 0o660: false, 0o604: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		token, err := Token(path)
		if (err == nil) != ok {
			t.Errorf("mode %o: %v", mode, err)
		}
		if err != nil && (token != "" || strings.Contains(err.Error(), tokens[0])) {
			t.Errorf("mode %o: the token is given away: %v", mode, err)
		}
	}
	if err := os.WriteFile(path, []byte("swordfish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Token(path); err == nil || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("a short token: %v", err)
	}
	if _, err := Token(filepath.Join(path, "below", "a file")); err == nil {
		t.Error("a token file in no folder")
	}
}

// S15, S18: it listens on loopback alone.
func TestOnlyLoopback_S15_S18(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0"} {
		if s, err := Listen(address, nil, http.NotFoundHandler(), log); err == nil {
			_ = s.Close(context.Background())
			t.Errorf("it listens on %s", address)
		} else if !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", address, err)
		}
	}
	logins, err := NewLogins(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		certificate *Certificate
		handler     http.Handler
	}{"names alone": {nil, &Dashboard{Options: Options{Logins: logins}}}, "certificate alone": {&Certificate{}, &Dashboard{}}, "somebody else's handler": {&Certificate{}, http.NotFoundHandler()}} {
		if s, err := Listen("0.0.0.0:0", c.certificate, c.handler, log); err == nil {
			_ = s.Close(context.Background())
			t.Errorf("%s: it listens on all addresses", name)
		}
	}
	for _, ip := range []string{"0.0.0.0", "::", "192.0.2.1", "127.0.0.1", "::1"} {
		for i := range 4 {
			names, certificate := i&1 != 0, i&2 != 0
			if got, want := mayBeReached(&net.TCPAddr{IP: net.ParseIP(ip)}, names, certificate), i == 3 || strings.HasSuffix(ip, "1") && ip != "192.0.2.1"; got != want {
				t.Errorf("%s with names %t and certificate %t: %t", ip, names, certificate, got)
			}
		}
	}
	if mayBeReached(&net.UnixAddr{}, true, true) {
		t.Error("an address that is no address of the network")
	}
	s, err := Listen("127.0.0.1:0", nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("here")) }), log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(s.Addr().String(), nil, http.NotFoundHandler(), log); err == nil {
		t.Error("two listen on one address")
	}
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(got), "here") {
		t.Errorf("%s, %v", got, err)
	}
	_ = c.Close()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// S11: connections above the limit are refused, and one that ends makes room.
func TestConnectionsAreLimited_S11(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &limited{Listener: inner, free: make(chan struct{}, 1)}
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	dial()
	first := <-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("the second connection was not refused")
	}
	_ = first.Close()
	_ = first.Close() // gives its place back once
	dial()
	second := <-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("a connection that was closed twice made two places")
	}
	_ = second.Close()
	_ = l.Close()
	for range accepted {
	}
}

// S7: a session has a cookie that no script and no other site gets, an id that never comes from outside, and an end.
func TestSessions_S7(t *testing.T) {
	d := newDesk(t, nil)
	b := d.browser()
	b.cookie = &http.Cookie{Name: d.cookieName(), Value: "chosen-by-somebody-else"}
	b.signIn()
	if c := b.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Domain != "" || c.Path != "/" || len(c.Value) < 26 || c.Value == "chosen-by-somebody-else" {
		t.Errorf("%+v", c)
	}
	first := *b.cookie
	b.signIn()
	old := &browser{d: d, cookie: &first}
	if res := old.get("/activity"); res.Code != http.StatusSeeOther {
		t.Errorf("the session before the second login lives on: %d", res.Code)
	}
	if res := b.get("/activity"); res.Code != http.StatusOK {
		t.Errorf("signed in: %d", res.Code)
	}
	kept := *b.cookie
	if res := b.post("/logout", b.form("/")); res.Code != http.StatusSeeOther {
		t.Errorf("sign out: %d", res.Code)
	}
	if res := (&browser{d: d, cookie: &kept}).get("/activity"); res.Code != http.StatusSeeOther {
		t.Errorf("the session lives on after signing out: %d", res.Code)
	}
	for _, token := range []string{"", "wbt_", testToken[:len(testToken)-1], testToken + "x", strings.ToUpper(testToken)} {
		x := d.browser()
		if res := x.post("/login", url.Values{"token": {token}}); res.Code != http.StatusForbidden || x.cookie != nil || strings.Contains(res.Body.String(), testToken) {
			t.Errorf("token %q: %d", token, res.Code)
		}
	}
	if strings.Contains(d.log.String(), "wbt_") {
		t.Errorf("a token is in the log: %s", d.log)
	}
	if res := d.browser().post("/login", url.Values{"token": {testToken}, "name": {"<b>x</b>"}}); res.Code != http.StatusBadRequest {
		t.Errorf("a name with markup: %d", res.Code)
	}
}

func TestSessionsEnd_S7(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &sessions{open: map[string]*session{}}
		ask := func(id string) bool {
			r, _ := http.NewRequest("GET", "/", nil)
			r.AddCookie(&http.Cookie{Name: "c", Value: id})
			return l.of(r, "c") != nil
		}
		idle, busy := l.start(person{}), l.start(person{})
		for at := time.Duration(0); at < sessionMost; at += 20 * time.Minute {
			if !ask(busy) {
				t.Fatalf("ended after %v although it was in use", at)
			}
			time.Sleep(20 * time.Minute)
		}
		if ask(idle) {
			t.Error("an idle session has no end")
		}
		time.Sleep(time.Second)
		if ask(busy) {
			t.Error("a session has no end")
		}
		first := l.start(person{})
		for range maxSessions {
			time.Sleep(time.Millisecond)
			l.start(person{})
		}
		if len(l.open) > maxSessions || ask(first) {
			t.Errorf("%d sessions", len(l.open))
		}
	})
}

// S18: without a token, and when it is read only, nobody can act: the routes are not there.
func TestNobodyCanActWithoutToken_S18(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no token":  func(o *Options) { o.Token, o.NoToken = "", "the token file cannot be made" },
		"read only": func(o *Options) { o.ReadOnly = true },
	} {
		d := newDesk(t, change)
		d.fill("t")
		b := d.browser()
		if name == "read only" {
			b.signIn()
		} else if res := b.post("/login", url.Values{"token": {""}}); res.Code != http.StatusForbidden || !strings.Contains(res.Body.String(), "cannot be made") {
			t.Errorf("%s: an empty token opens a session, or nobody says why not: %d", name, res.Code)
		}
		for _, act := range []string{"retry", "skip", "discard"} {
			if res := b.get("/messages/3/" + act); res.Code != http.StatusNotFound {
				t.Errorf("%s: the form of %s: %d", name, act, res.Code)
			}
			if res := b.post("/messages/3/"+act, url.Values{"reason": {"r"}, "seen": {"dead false"}}); res.Code != http.StatusNotFound {
				t.Errorf("%s: %s: %d", name, act, res.Code)
			}
		}
		if body := b.get("/messages/3").Body.String(); strings.Contains(body, "/retry") {
			t.Errorf("%s: the page offers what is not there", name)
		}
	}
}
