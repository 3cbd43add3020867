package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/relay"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets/*
var assetFiles embed.FS

// page is what every template gets.
type page struct {
	Title  string
	Active string    // of the navigation
	Now    time.Time // of the database where it was asked; ages count from here
	Live   bool      // the script reads the page again every few seconds
	Reload bool      // so does a browser without scripts
	Body   any

	Outbox, Version string
	Signed          bool
	Name            string // of the person who signed in
	Form            string // token of the session's forms
	MayLook         bool   // pages other than the login
	MayAct          bool   // who looks can act here, or could after signing in
	MayPlan         bool   // and on many messages at once
	Lacks           string // the roles of who has signed in and cannot act where others can; else empty
	Audits          bool   // there are some
	ReadOnly        bool
	Notice          string
}

// show renders a page whole before the first byte of it is sent.
func (d *Dashboard) show(w http.ResponseWriter, s *session, code int, name string, p page) error {
	who := s.who()
	acts := !who.in || d.lets(who, operator)
	p.Audits = d.Auditor != nil
	p.Outbox, p.Version, p.MayLook, p.MayAct, p.MayPlan, p.ReadOnly = d.Outbox, d.Version, d.lets(who, viewer), d.mayAct() && acts, d.mayPlan() && acts, d.ReadOnly
	if s != nil {
		p.Signed, p.Name, p.Form, p.Notice = true, s.name, s.form, d.sessions.takeNotice(s)
		if d.mayAct() && !acts {
			p.Lacks = who.roles()
		}
	}
	if p.Now.IsZero() {
		p.Now = time.Now().UTC()
	}
	var b bytes.Buffer
	if err := d.pages[name].ExecuteTemplate(&b, "layout.html", p); err != nil {
		d.Log.Error("a page could not be rendered", "page", name, "err", err)
		http.Error(w, "500: the page could not be rendered; the log says more", http.StatusInternalServerError)
		return nil
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // the browser has gone
	return nil
}

// parsePages makes one set of templates for each page: the layout around it, and the parts that several share.
func parsePages() map[string]*template.Template {
	common := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	pages := map[string]*template.Template{}
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err) // the pattern is ours
	}
	for _, file := range names {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name != "layout" && name != "parts" {
			pages[name] = template.Must(template.Must(common.Clone()).ParseFS(templateFiles, file))
		}
	}
	return pages
}

var functions = template.FuncMap{
	"ago":    ago,
	"age":    age,
	"clock":  clock,
	"stamp":  func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"asset":  func(name string) string { return "/assets/" + assetNames[name] },
	"bytes":  sizeText,
	"keyURL": keyURL,
	"list":   func(q string) string { return "/messages?q=" + url.QueryEscape(q) },
	"label":  label,
	"on":     func(p page, v any) part { return part{p, v} },
	"keyOf":  func(m relay.MessageRow) relay.Key { return relay.Key{Topic: m.Topic, Key: m.Key} },
	"headOf": func(k keyPage) actsOf { return actsOf{k.Head, k.Acts} },
	"chips": func() []string {
		return []string{"dead", "blocked", "retrying", "scheduled", "pending", "sent", "discarded"}
	},
	"advice":     splitAdvice,
	"visible":    visible,
	"old":        func(t, now time.Time) bool { return now.Sub(t) > 2*time.Second },
	"plural":     plural,
	"auditTone":  func(v audit.Verdict) string { return auditTones[v] },
	"auditTitle": auditTitle,
	"levelTone":  func(l relay.Level) string { return levelTones[l] },

	"pauseURL": pauseURL,

	"plansFor": plansFor,
	"planURL":  planURL,
	"planOn":   func(p page, q string) part { return part{p, q} },
	"tone":     operationTone,
	"items":    itemsURL,
	"outcome":  func(s string) string { return strings.ReplaceAll(s, "_", " ") },
	"verb": func(v relay.Verb) string {
		return map[relay.Verb]string{relay.Pause: "Pause", relay.Resume: "Go on", relay.Stop: "Stop"}[v]
	},

	"filterNames": func() []string { return relay.FilterNames },
}

// actsOf is what the shared buttons need of a message.
type actsOf struct {
	ID   relay.ID
	Acts []act
}

// advice is a sentence that may end with a command.
type advice struct{ Text, Command string }

func splitAdvice(s string) advice {
	if i := strings.Index(s, "waybill "); i == 0 || i > 0 && s[i-1] == ' ' && strings.HasSuffix(s[:i], ": ") {
		return advice{s[:i], s[i:]}
	}
	return advice{Text: s}
}

// part hands a value to a shared template together with its page.
type part struct {
	Page page
	V    any
}

func keyURL(k relay.Key) string {
	return "/key?topic=" + url.QueryEscape(k.Topic) + "&key=" + url.QueryEscape(k.Key)
}

// label is the state of a message in one word.
func label(m relay.MessageRow) string {
	if m.State == relay.StatePending && m.Detail != "" {
		return m.Detail
	}
	return m.State
}

func plural(n any, one, many string) string {
	text := fmt.Sprint(n)
	if text == "1" {
		return "1 " + one
	}
	return text + " " + many
}

// ago says how long before now a moment was.
func ago(now, t time.Time) string {
	if t.After(now) {
		return "in " + round(t.Sub(now))
	}
	if now.Sub(t) < time.Second {
		return "just now"
	}
	return round(now.Sub(t)) + " ago"
}

func age(now, t time.Time) string { return round(now.Sub(t)) }

// round writes a duration as people say it.
func round(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d/time.Second))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d/time.Hour))
	}
	return fmt.Sprintf("%d d", int(d/(24*time.Hour)))
}

// clock writes a moment of today as its time, an older one with its day; always UTC.
func clock(now, t time.Time) string {
	if d := now.Sub(t); d < 20*time.Hour && d > -4*time.Hour {
		return t.UTC().Format("15:04:05")
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// sizeText writes bytes exactly, in groups of three digits.
func sizeText(n int) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, r := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return b.String() + " B"
}

// assetNames gives the name under which a browser asks: it changes with the content, so the answer may be kept for ever.
var assetNames, assetBodies = hashAssets()

func hashAssets() (names map[string]string, bodies map[string][]byte) {
	names, bodies = map[string]string{}, map[string][]byte{}
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // embedded
	}
	for _, f := range files {
		body, err := assetFiles.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err) // embedded
		}
		sum := sha256.Sum256(body)
		ext := path.Ext(f.Name())
		name := strings.TrimSuffix(f.Name(), ext) + "-" + hex.EncodeToString(sum[:6]) + ext
		names[f.Name()], bodies[name] = name, body
	}
	return names, bodies
}

var assetTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func (d *Dashboard) asset(w http.ResponseWriter, r *http.Request, _ *session) error {
	body, ok := assetBodies[r.PathValue("name")]
	if !ok {
		return relay.ErrNotFound
	}
	w.Header().Set("Content-Type", assetTypes[path.Ext(r.PathValue("name"))])
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(body) // the browser has gone
	return nil
}
