package dashboard

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// S5: no path leads out of the list of assets, and nothing that is asked for is a file.
func TestNoPathLeadsOutside_S5(t *testing.T) {
	d := newDesk(t, nil)
	b := d.browser().signIn()
	for _, path := range []string{"/assets/../token.go", "/assets/..%2ftoken.go", "/assets/%2e%2e/token.go", "/assets/..\\token.go", "/assets//etc/passwd", "/assets/%2fetc%2fpasswd",
		"/assets/templates/layout.html", "/assets/layout.html", "/assets/.", "/assets/..", "/assets/", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/assets/app.css%00.html"} {
		res := b.do("GET", "/", nil, func(r *http.Request) { // as it stands on the wire: nothing between here and the mux cleans it
			r.RequestURI = path
			u, err := url.ParseRequestURI(path)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = u
		})
		if body := res.Body.String(); res.Code == http.StatusOK || strings.Contains(body, "root:") || strings.Contains(body, "package dashboard") || strings.Contains(body, "{{") {
			t.Errorf("%s: %d %.200s", path, res.Code, body)
		}
	}
}

// S16: who acted, and from where, is not for headers to say.
func TestForgedSender_S16(t *testing.T) {
	d := newDesk(t, nil)
	d.fill("t")
	b := d.browser().signIn()
	form := b.form("/messages/6/retry")
	res := b.do("POST", "/messages/6/retry", strings.NewReader(form.Encode()), func(r *http.Request) {
		for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip", "X-Forwarded-User", "Remote-User"} {
			r.Header.Set(name, "for=6.6.6.6")
		}
		r.Header.Set("X-Forwarded-Host", "evil.example")
	})
	if res.Code != http.StatusSeeOther || strings.Contains(res.Header().Get("Location"), "evil") {
		t.Fatalf("%d to %q", res.Code, res.Header().Get("Location"))
	}
	if a := d.lastAct(); a.Address != "127.0.0.1" || a.Actor != "ui:ana" {
		t.Errorf("it was written down as %+v", a)
	}
}
