package app

import (
	"log/slog"
	"strings"

	"github.com/waybillmq/waybill/relay"
)

// risks says in the log what can lose messages that a broker confirmed: of the cluster, and of the topics that this relay sends to, once each until it
// changes. Its method may be called from one goroutine at a time.
type risks struct{ said map[[2]string]string }

// warn takes the newest findings of a destination. concerns picks those about what this relay does; nil = all do. A topic that is sent to later is told of
// by a later call.
func (u *risks) warn(log *slog.Logger, destination string, found relay.Findings, concerns func(relay.Finding) bool) {
	var subjects []string
	text, fix := map[string][]string{}, map[string][]string{}
	for _, f := range found.Items {
		if f.Level != relay.LevelFail || concerns != nil && !concerns(f) {
			continue
		}
		if text[f.Subject] == nil {
			subjects = append(subjects, f.Subject)
		}
		text[f.Subject], fix[f.Subject] = append(text[f.Subject], f.Text), append(fix[f.Subject], f.Fix)
	}
	said := map[[2]string]string{}
	for of, t := range u.said {
		if of[0] != destination {
			said[of] = t
		}
	}
	for _, subject := range subjects {
		of, all := [2]string{destination, subject}, strings.Join(text[subject], "; ")
		if said[of] = all; u.said[of] != all {
			log.Warn("this broker can lose what it confirmed", "destination", destination, "subject", subject, "found", all, "fix", strings.Join(fix[subject], "; "))
		}
	}
	u.said = said
}

// warnRisks says what is unsafe now among the newest findings of every opened destination.
func (e *engine) warnRisks(log *slog.Logger, u *risks) {
	e.mu.Lock()
	concerns := map[string]func(relay.Finding) bool{}
	for name, p := range e.open {
		if k, ok := p.(interface{ Concerns(relay.Finding) bool }); ok {
			concerns[name] = k.Concerns
		}
	}
	e.mu.Unlock()
	for name, found := range e.findings() {
		u.warn(log, name, found, concerns[name])
	}
}
