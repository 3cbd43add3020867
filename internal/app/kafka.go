package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/relay"
)

// kafkaConfig maps a destination of kind kafka. Trust and OnLanesChanged are the relay's to set.
func kafkaConfig(c *config.Config, d *config.Destination) kafka.Config {
	k := kafka.DefaultConfig()
	k.Brokers, k.ClientID, k.Topics = d.Brokers, "waybill/"+c.Name, targetTopics(c, d.Name)
	k.Idempotence, k.Partitioner = d.Idempotence, kafka.Partitioner(d.Partitioner)
	k.Batch = kafka.Batch{MaxMessages: d.Batch.MaxMessages, MaxBytes: int(d.Batch.MaxBytes)}
	k.Timeouts = kafka.Timeouts{Connect: d.Timeouts.Connect, Broker: d.Timeouts.Broker, Publish: d.Timeouts.Publish}
	k.WriteTimeout, k.TCPUserTimeout = c.Relay.WriteTimeout, c.Relay.TCPUserTimeout
	return k
}

// targetTopics lists the topics that routes name at a destination; nil when one is computed from the message.
func targetTopics(c *config.Config, destination string) []string {
	topics := []string{}
	for _, r := range c.Routes {
		if r.To.Destination != destination {
			continue
		}
		if strings.Contains(r.To.Topic, "{") {
			return nil
		}
		topics = append(topics, r.To.Topic)
	}
	slices.Sort(topics)
	return slices.Compact(topics)
}

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
		if k, ok := p.(*kafka.Publisher); ok {
			concerns[name] = k.Concerns
		}
	}
	e.mu.Unlock()
	for name, found := range e.findings() {
		u.warn(log, name, found, concerns[name])
	}
}

// checkLimit bounds the check of one destination.
const checkLimit = 10 * time.Second

// CheckDestinations asks every destination whether it can be reached and is configured to keep its promise. It changes nothing.
func CheckDestinations(ctx context.Context, c *config.Config) map[string]relay.Findings {
	out := map[string]relay.Findings{}
	for i := range c.Destinations {
		d := &c.Destinations[i]
		found, err := checkDestination(ctx, c, d)
		switch {
		case err == nil:
		case d.Kind == config.KindWaybillBroker:
			found.Items = append(found.Items, relay.Finding{ID: "waybillbroker.folder", Level: relay.LevelFail, Subject: c.Broker.Dir, Text: err.Error(), Fix: "correct broker.dir"})
		default:
			found.Items = append(found.Items, relay.Finding{ID: "kafka.reachable", Level: relay.LevelFail, Subject: strings.Join(d.Brokers, ","),
				Text: err.Error(), Fix: "correct destinations." + d.Name + ".brokers, or start the broker"})
		}
		out[d.Name] = found
	}
	return out
}

func checkDestination(ctx context.Context, c *config.Config, d *config.Destination) (found relay.Findings, err error) {
	if d.Kind == config.KindWaybillBroker {
		return checkBundled(c)
	}
	return checkKafka(ctx, kafkaConfig(c, d))
}

func checkKafka(ctx context.Context, k kafka.Config) (found relay.Findings, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	p, err := kafka.New(k)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, p.Close(context.WithoutCancel(ctx))) }()
	return p.Check(ctx)
}
