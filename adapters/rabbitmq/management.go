package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/waybillmq/waybill/relay"
)

const (
	managementAnswer = 16 << 20 // most bytes of an answer
	maxFollowed      = 1000     // exchanges and queues behind one exchange
)

// management asks the HTTP API of the management plugin (its page /api/index.html).
type management struct {
	client   *http.Client
	base     string
	vhost    string
	user     string
	password string
}

var errAbsent = errors.New("there is none")

// get reads one path below /api into v. Names in path are escaped already.
func (m *management) get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base+"/api/"+path, nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth(m.user, m.password)
	res, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		return json.NewDecoder(io.LimitReader(res.Body, managementAnswer)).Decode(v)
	case http.StatusNotFound:
		return errAbsent
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("the management API refuses this user (%s): give it the tag monitoring", res.Status)
	}
	return fmt.Errorf("the management API answers %s", res.Status)
}

type nodeInfo struct {
	Name      string `json:"name"`
	Running   bool   `json:"running"`
	MemAlarm  bool   `json:"mem_alarm"`
	DiskAlarm bool   `json:"disk_free_alarm"`
}

type exchangeInfo struct {
	Type      string         `json:"type"`
	Durable   bool           `json:"durable"`
	Arguments map[string]any `json:"arguments"`
	Policy    string         `json:"policy"`
}

type bindingInfo struct {
	Destination string `json:"destination"`
	Kind        string `json:"destination_type"`
}

type queueInfo struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Exclusive  bool           `json:"exclusive"`
	Arguments  map[string]any `json:"arguments"`
	Policy     map[string]any `json:"effective_policy_definition"`
}

// setting is an argument of the queue or, without one, of its policy.
func (q *queueInfo) setting(name string) (any, bool) {
	if v, ok := q.Arguments["x-"+name]; ok {
		return v, true
	}
	v, ok := q.Policy[name]
	return v, ok
}

// settings judges what only the management API tells.
func (r *report) settings(ctx context.Context, exchanges, queues []string) {
	user, password, err := r.p.cfg.login()
	if err != nil {
		r.add("rabbitmq.settings", relay.LevelUnseen, "management", "the credentials cannot be read: "+err.Error(), "")
		return
	}
	transport := &http.Transport{TLSClientConfig: r.p.cfg.TLS.Clone()}
	defer transport.CloseIdleConnections()
	m := &management{client: &http.Client{Transport: transport, Timeout: 10 * time.Second}, base: strings.TrimSuffix(r.p.cfg.ManagementURL, "/"),
		vhost: url.PathEscape(r.p.cfg.Vhost), user: user, password: password}
	var nodes []nodeInfo
	if err := m.get(ctx, "nodes", &nodes); err != nil {
		r.add("rabbitmq.settings", relay.LevelUnseen, "management", "the settings could not be read: "+err.Error(), "check management_url and the user's tags")
		return
	}
	r.nodes(nodes)
	s := &survey{r: r, m: m, nodes: len(nodes), seen: map[string]*queueInfo{}, full: map[string]bool{}}
	for _, name := range exchanges {
		s.exchange(ctx, name)
	}
	for _, name := range queues {
		if q := s.queue(ctx, name); q != nil && rejects(q) {
			s.full[name] = true
		}
	}
	r.p.queues.Store(&s.full)
}

func (r *report) nodes(nodes []nodeInfo) {
	for _, n := range nodes {
		var alarms []string
		for _, a := range []struct {
			on   bool
			text string
		}{{n.MemAlarm, "memory"}, {n.DiskAlarm, "disk"}, {!n.Running, "it is down"}} {
			if a.on {
				alarms = append(alarms, a.text)
			}
		}
		if len(alarms) == 0 {
			r.add("rabbitmq.alarms", relay.LevelOK, n.Name, "no alarm", "")
			continue
		}
		r.add("rabbitmq.alarms", relay.LevelFail, n.Name, "alarm: "+strings.Join(alarms, ", "), "free memory or disk on this node, or start it: an alarm of one node blocks all")
	}
}

// survey goes from exchanges to queues.
type survey struct {
	r     *report
	m     *management
	nodes int
	seen  map[string]*queueInfo // nil = could not be read; each queue is judged once
	full  map[string]bool
}

func (s *survey) exchange(ctx context.Context, name string) {
	var x exchangeInfo
	if err := s.m.get(ctx, "exchanges/"+s.m.vhost+"/"+url.PathEscape(name), &x); err != nil {
		if !errors.Is(err, errAbsent) { // that it does not exist was said
			s.r.add("rabbitmq.bindings", relay.LevelUnseen, name, "the exchange could not be read: "+err.Error(), "")
		}
		return
	}
	s.r.judge("rabbitmq.exchange_durable", !x.Durable, relay.LevelWarn, name, fmt.Sprintf("durable: %t", x.Durable), "make it durable: otherwise it is gone after a restart")
	alternate, _ := x.Arguments["alternate-exchange"].(string)
	s.r.judge("rabbitmq.alternate_exchange", alternate != "", relay.LevelWarn, name, "alternate exchange: "+quoted(alternate),
		"what no queue is bound for goes there and counts as delivered: watch that one's queues, or remove it")
	s.r.judge("rabbitmq.key_order", x.Type == "x-random" || x.Type == "x-local-random", relay.LevelWarn, name, "the type is "+x.Type,
		"messages of one key go to several queues: consumers do not see their order")
	queues, err := s.behind(ctx, name)
	if err != nil {
		s.r.add("rabbitmq.bindings", relay.LevelUnseen, name, "the bindings could not be read: "+err.Error(), "")
		return
	}
	s.r.judge("rabbitmq.bindings", len(queues) == 0, relay.LevelFail, name, fmt.Sprintf("%d queues are bound", len(queues)), "bind a queue: until then every message is returned")
	for _, q := range queues {
		info := s.queue(ctx, q)
		if len(queues) == 1 && info != nil && rejects(info) {
			s.full[name] = true
		}
	}
}

// behind lists the queues that are bound to an exchange, also through other exchanges, in the order in which they are met.
func (s *survey) behind(ctx context.Context, name string) (queues []string, err error) {
	met, todo := map[bindingInfo]bool{}, []string{name}
	for len(todo) > 0 && len(met) < maxFollowed {
		var bindings []bindingInfo
		if err := s.m.get(ctx, "exchanges/"+s.m.vhost+"/"+url.PathEscape(todo[0])+"/bindings/source", &bindings); err != nil && !errors.Is(err, errAbsent) {
			return nil, err
		}
		todo = todo[1:]
		for _, b := range bindings {
			switch {
			case met[b]:
			case b.Kind == "queue":
				queues = append(queues, b.Destination)
			default:
				todo = append(todo, b.Destination)
			}
			met[b] = true
		}
	}
	return queues, nil
}

// queue reads and judges one queue, once.
func (s *survey) queue(ctx context.Context, name string) *queueInfo {
	if q, known := s.seen[name]; known {
		return q
	}
	q := &queueInfo{}
	if err := s.m.get(ctx, "queues/"+s.m.vhost+"/"+url.PathEscape(name), q); err != nil {
		q = nil
		if !errors.Is(err, errAbsent) {
			s.r.add("rabbitmq.queue_settings", relay.LevelUnseen, name, "the queue could not be read: "+err.Error(), "")
		}
	} else {
		judgeQueue(s.r, q, s.nodes)
	}
	s.seen[name] = q
	return q
}

func judgeQueue(r *report, q *queueInfo, nodes int) {
	r.judge("rabbitmq.queue_durable", !q.Durable || q.AutoDelete || q.Exclusive, relay.LevelFail, q.Name,
		fmt.Sprintf("durable: %t, auto-delete: %t, exclusive: %t", q.Durable, q.AutoDelete, q.Exclusive), "make a durable queue: this one and what it holds end with the server or its consumers")
	stream := q.Type == "stream"
	switch {
	case stream:
		r.add("rabbitmq.queue_type", relay.LevelWarn, q.Name, "a stream: not synced to disk before the confirm, and a server that lacks the mending of rabbitmq-server #12236 (merged for 4.0) can lose confirmed messages when its leader changes",
			"use a quorum queue where nothing that was confirmed may be lost")
	case q.Type == "classic" && nodes > 1:
		r.add("rabbitmq.queue_type", relay.LevelWarn, q.Name, "a classic queue in a cluster: its messages lie on one node", "use a quorum queue")
	default:
		r.add("rabbitmq.queue_type", relay.LevelOK, q.Name, "the type is "+q.Type, "")
	}
	if limited(q) && !stream {
		r.judge("rabbitmq.overflow", !rejects(q), relay.LevelFail, q.Name, fmt.Sprintf("length limit with overflow %s", overflow(q)),
			"set overflow to reject-publish: with drop-head a full queue confirms new messages and drops old ones")
	}
	for _, name := range []string{"message-ttl", "expires"} {
		if v, ok := q.setting(name); ok {
			r.add("rabbitmq.ttl", relay.LevelWarn, q.Name, fmt.Sprintf("%s is %v ms", name, v), "messages that nobody consumes in time vanish: remove it, or dead-letter them")
		}
	}
}

func limited(q *queueInfo) bool {
	_, count := q.setting("max-length")
	_, bytes := q.setting("max-length-bytes")
	return count || bytes
}

// rejects says whether the queue refuses messages when it is full.
func rejects(q *queueInfo) bool {
	return limited(q) && strings.HasPrefix(overflow(q), "reject-publish")
}

func overflow(q *queueInfo) string {
	if v, ok := q.setting("overflow"); ok {
		return fmt.Sprint(v)
	}
	return "drop-head"
}

func quoted(s string) string {
	if s == "" {
		return "none"
	}
	return fmt.Sprintf("%q", s)
}
