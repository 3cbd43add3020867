package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/relay"
)

const certificateDays = 30

// Check asks whether the cluster is configured to keep what it confirms, and for the size limits. It uses a connection of its own and throw-away channels,
// stores nothing, changes nothing, and works before Open too. An error means that no host let us in.
func (p *Publisher) Check(ctx context.Context) (relay.Findings, error) {
	ctx, done, err := p.calls.Enter(ctx)
	if err != nil {
		return relay.Findings{}, err
	}
	defer done()
	g, err := p.connect(ctx, nil)
	if err != nil {
		if c := configError(err); c != nil {
			return relay.Findings{}, c
		}
		return relay.Findings{}, fmt.Errorf("%w: rabbitmq: none of %v can be reached: %w", relay.ErrUnavailable, p.cfg.Hosts, err)
	}
	defer func() { g.end(); <-g.done }()
	stop := context.AfterFunc(ctx, g.end)
	defer stop()
	r := report{p: p, g: g, found: relay.Findings{Cluster: g.cluster, Limits: map[string]int{}}}
	r.connection()
	exchanges, queues := p.targets()
	for _, name := range exchanges {
		r.exchange(name)
	}
	for _, name := range queues {
		r.queue(name)
	}
	if p.cfg.ManagementURL == "" {
		r.add("rabbitmq.settings", relay.LevelUnseen, "management", "queue types, policies, bindings and alarms cannot be asked through AMQP",
			"set management_url, then: waybill config check")
	} else {
		r.settings(ctx, exchanges, queues)
	}
	r.size(ctx, slices.Concat(exchanges, queues))
	return r.found, ctx.Err()
}

// targets are the exchanges and queues that are configured, and those that something was sent to.
func (p *Publisher) targets() (exchanges, queues []string) {
	e, q := map[string]bool{}, map[string]bool{}
	for _, name := range p.cfg.Exchanges {
		e[name] = true
	}
	for _, name := range p.cfg.Queues {
		q[name] = true
	}
	p.lanesMu.Lock()
	defer p.lanesMu.Unlock()
	for name, byDefault := range p.used {
		if byDefault {
			q[name] = true
		} else {
			e[name] = true
		}
	}
	return slices.Sorted(maps.Keys(e)), slices.Sorted(maps.Keys(q))
}

// report collects findings.
type report struct {
	p     *Publisher
	g     *generation
	found relay.Findings
}

func (r *report) add(id string, level relay.Level, subject, text, fix string) {
	r.found.Items = append(r.found.Items, relay.Finding{ID: id, Level: level, Subject: subject, Text: text, Fix: fix})
}

// judge adds a finding that is ok unless bad.
func (r *report) judge(id string, bad bool, level relay.Level, subject, text, fix string) {
	if !bad {
		level, fix = relay.LevelOK, ""
	}
	r.add(id, level, subject, text, fix)
}

func (r *report) connection() {
	version, _ := r.g.conn.Properties["version"].(string)
	product, _ := r.g.conn.Properties["product"].(string)
	r.add("rabbitmq.reachable", relay.LevelOK, strings.Join(r.p.cfg.Hosts, ","), fmt.Sprintf("%s %s answers as cluster %s", product, version, r.g.cluster), "")
	if before := r.p.ClusterID(); before != "" && before != r.g.cluster {
		r.add("rabbitmq.cluster", relay.LevelFail, r.g.cluster, "this is another cluster than the one that was opened: "+before, "check the hosts")
	}
	if end := r.g.certificateEnd; !end.IsZero() {
		r.judge("rabbitmq.certificate", time.Until(end) < certificateDays*24*time.Hour, relay.LevelWarn, r.g.host, "the certificate ends on "+end.UTC().Format(time.DateOnly),
			"renew the server's certificate")
	}
	r.judge("rabbitmq.tls", r.p.cfg.TLS == nil, relay.LevelWarn, "connection", map[bool]string{true: "the connection is not encrypted", false: "TLS is on"}[r.p.cfg.TLS == nil],
		"set tls for this destination")
}

func (r *report) exchange(name string) {
	err := throwAway(r.g.conn, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeTopic, true, false, false, false, nil)
	})
	fix := "make the exchange, or correct the route"
	if r.p.cfg.Declare {
		fix = "the first message makes it (declare: true); bind queues to it, or what is sent is returned"
	}
	r.exists("rabbitmq.exchange", "exchange", name, err, fix)
}

func (r *report) queue(name string) {
	err := throwAway(r.g.conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
	r.exists("rabbitmq.queue", "queue", name, err, "make the queue, or correct the route")
}

func (r *report) exists(id, kind, name string, err error, fix string) {
	var e *amqp.Error
	switch {
	case err == nil:
		r.add(id, relay.LevelOK, name, "the "+kind+" exists", "")
	case errors.As(err, &e) && e.Code == amqp.NotFound:
		r.add(id, relay.LevelFail, name, "the "+kind+" does not exist", fix)
	case errors.As(err, &e) && e.Code == amqp.ResourceLocked:
		r.add(id, relay.LevelFail, name, "the "+kind+" belongs to one connection (exclusive) and ends with it", "make a durable "+kind)
	default:
		r.add(id, relay.LevelUnseen, name, "the "+kind+" could not be asked for: "+err.Error(), "try again")
	}
}
