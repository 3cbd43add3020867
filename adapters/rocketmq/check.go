package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waybillmq/waybill/relay"
)

// Settings of a broker that Check reads (RocketMQ documentation, "Parameter configuration").
const (
	setFlush       = "flushDiskType"
	setRole        = "brokerRole"
	setFlushWait   = "syncFlushTimeout"
	setInSync      = "inSyncReplicas" // from 5.0 on
	setAutoInSync  = "enableAutoInSyncReplicas"
	setController  = "enableControllerMode"
	setAutoCreate  = "autoCreateTopicEnable"
	setMaxMessage  = "maxMessageSize"
	setNoHalves    = "rejectTransactionMessage"
	setHalfAge     = "transactionTimeOut"
	setHalfEvery   = "transactionCheckInterval"
	leastHalfAge   = 6000 // ms, the default of 4.9: above the longest commit
	mostFlushWait  = 2500 // ms: the library gives up after 3 s
	recommendedNum = 8    // queues
)

// learnLimits reads maxMessageSize of the brokers; what cannot be read stays as it was.
func (p *Publisher) learnLimits(ctx context.Context) {
	found, err := p.probe.brokers(ctx)
	if err != nil {
		return
	}
	limits := map[string]int{}
	for _, name := range found.masters(p.clusterName()) {
		if s, err := p.settings(ctx, found.Brokers[name]); err == nil {
			if n, ok := s.number(setMaxMessage); ok && n > 0 {
				limits[name] = n
			}
		}
	}
	for _, t := range *p.pins.Load() {
		least := 0
		for _, b := range t.brokers() {
			if n, ok := limits[b]; ok && (least == 0 || n < least) {
				least = n
			}
		}
		if least > 0 {
			t.limit.Store(int64(least))
		}
	}
}

func (p *Publisher) settings(ctx context.Context, b brokerData) (s settings, err error) {
	err = p.probe.broker(ctx, b.master(), func(l *link) error {
		s, err = l.brokerConfig(ctx)
		return err
	})
	return s, err
}

// Check asks whether the brokers are configured to keep what they confirm, whether the topics exist, and for their size limits. It works before Open too. An error
// means that no name server answered, or that none knows a master.
func (p *Publisher) Check(ctx context.Context) (relay.Findings, error) {
	ctx, done, err := p.calls.Enter(ctx)
	if err != nil {
		return relay.Findings{}, err
	}
	defer done()
	id, err := p.identify(ctx)
	if err != nil {
		return relay.Findings{}, err
	}
	found, err := p.probe.brokers(ctx)
	if err != nil {
		return relay.Findings{}, p.unavailable(err)
	}
	name, _, _ := strings.Cut(id, "/")
	r := report{p: p, found: relay.Findings{Cluster: id, Limits: map[string]int{}}, limits: map[string]int{}}
	masters := found.masters(name)
	r.add("rocketmq.reachable", relay.LevelOK, strings.Join(p.cfg.NameServers, ";"), fmt.Sprintf("%d masters answer as cluster %s", len(masters), id), "")
	if before := p.ClusterID(); before != "" && !SameCluster(before, id) {
		r.add("rocketmq.cluster", relay.LevelFail, id, "this is another cluster than the one that was opened: "+before, "check the addresses of the name servers")
	}
	r.add("rocketmq.tls", relay.LevelWarn, "connections", "messages travel unencrypted: the client library has no TLS", "keep name servers and brokers in a private network, or use a tunnel")
	for _, broker := range masters {
		r.broker(ctx, found.Brokers[broker])
	}
	r.group(ctx, found, masters, p.cfg.Group)
	if p.cfg.Transactional {
		r.group(ctx, found, masters, p.halves())
	}
	routes, err := p.learnTopics(ctx)
	if err != nil {
		return relay.Findings{}, p.unavailable(err)
	}
	r.topics(routes)
	return r.found, nil
}

// Concerns says whether a finding of Check is about what this publisher does: about the cluster and its brokers, a topic that the configuration names, or one that
// something was presented for. It may be called at any time.
func (p *Publisher) Concerns(f relay.Finding) bool {
	if !strings.HasPrefix(f.ID, "rocketmq.topic") {
		return true
	}
	if slices.Contains(p.cfg.Topics, f.Subject) {
		return true
	}
	pins := p.pins.Load()
	if pins == nil {
		return false
	}
	t := (*pins)[f.Subject]
	return t != nil && t.used.Load()
}

// report collects findings.
type report struct {
	p      *Publisher
	found  relay.Findings
	limits map[string]int // maxMessageSize by broker
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

// broker judges the settings of one master.
func (r *report) broker(ctx context.Context, b brokerData) {
	s, err := r.p.settings(ctx, b)
	var refused *encryptedError
	if errors.As(err, &refused) {
		r.add("rocketmq.tls_only", relay.LevelFail, b.Name, refused.Error(), encryptedFix)
		return
	}
	if err != nil {
		r.add("rocketmq.settings", relay.LevelUnseen, b.Name, "the settings of the broker could not be read: "+reason(err), "give the access key the right to read them, or make the broker reachable")
		return
	}
	r.durability(b, s)
	if r.p.cfg.Transactional {
		r.halves(b, s)
	}
	wait, _ := s.number(setFlushWait)
	r.judge("rocketmq.sync_flush_timeout", s[setFlush] == "SYNC_FLUSH" && wait > mostFlushWait, relay.LevelWarn, b.Name, fmt.Sprintf("%s is %d ms", setFlushWait, wait),
		"set it to 2500 or less: the client gives up after 3 s, and a slow disk looks like a broken network")
	r.judge("rocketmq.auto_create", s[setAutoCreate] == "true", relay.LevelFail, b.Name, setAutoCreate+" is "+s[setAutoCreate],
		"set it to false: a mistyped topic is created with queues of its own, and nobody reads it")
	n, ok := s.number(setMaxMessage)
	if !ok {
		return
	}
	r.limits[b.Name] = n
	r.judge("rocketmq.max_message_size", n < r.p.cfg.Batch.MaxBytes, relay.LevelWarn, b.Name, fmt.Sprintf("%s is %d", setMaxMessage, n),
		fmt.Sprintf("batches are cut smaller than batch.max_bytes (%d): raise the one or lower the other", r.p.cfg.Batch.MaxBytes))
}

// durability judges what SEND_OK means.
func (r *report) durability(b brokerData, s settings) {
	flush, role := s[setFlush], s[setRole]
	level, fix := relay.LevelOK, ""
	text := fmt.Sprintf("%s is %s, %s is %s: ", setFlush, flush, setRole, role)
	sync, replicated := flush == "SYNC_FLUSH", role == "SYNC_MASTER"
	switch {
	case sync && replicated:
		text += "a confirmed message is on the master's disk and in a slave's memory (a slave confirms before it flushes)"
	case sync:
		level, text, fix = relay.LevelWarn, text+"a confirmed message is on one disk only", "run a slave and set brokerRole=SYNC_MASTER"
	case replicated:
		level, text, fix = relay.LevelWarn, text+"a confirmed message is in memory only, of master and slave", "set flushDiskType=SYNC_FLUSH"
	default:
		level, text, fix = relay.LevelFail, text+"a confirmed message is in the memory of one machine", "set flushDiskType=SYNC_FLUSH, and run a slave with brokerRole=SYNC_MASTER"
	}
	r.add("rocketmq.durability", level, b.Name, text, fix)
	if replicated {
		r.judge("rocketmq.slave", len(b.Addrs) < 2, relay.LevelFail, b.Name, fmt.Sprintf("%d slaves are registered", len(b.Addrs)-1),
			"bring a slave back: without one every message is answered by SLAVE_NOT_AVAILABLE, and nothing is confirmed")
	}
	if n, ok := s.number(setInSync); ok && replicated && five(s) {
		r.judge("rocketmq.in_sync_replicas", n < 2, relay.LevelFail, b.Name, fmt.Sprintf("%s is %d", setInSync, n), "set it to 2: with 1 the master confirms without its slave")
	}
	r.judge("rocketmq.auto_in_sync", s[setAutoInSync] == "true", relay.LevelWarn, b.Name, setAutoInSync+" is "+orFalse(s[setAutoInSync]),
		"set it to false: without slaves the master then confirms alone")
	r.judge("rocketmq.controller_mode", s[setController] == "true", relay.LevelWarn, b.Name, setController+" is "+orFalse(s[setController]),
		"losses are known in this mode (apache/rocketmq issues 7689, 7017): use master and slave without it")
}

// halves judges what steers half messages.
func (r *report) halves(b brokerData, s settings) {
	r.judge("rocketmq.half_messages", s[setNoHalves] == "true", relay.LevelFail, b.Name, setNoHalves+" is "+orFalse(s[setNoHalves]),
		"set it to false: the broker refuses half messages, and transactional: true sends nothing else")
	for _, is := range []struct{ id, name string }{{"rocketmq.half_timeout", setHalfAge}, {"rocketmq.half_interval", setHalfEvery}} {
		if ms, ok := s.number(is.name); ok {
			r.judge(is.id, ms < leastHalfAge, relay.LevelWarn, b.Name, fmt.Sprintf("%s is %d ms", is.name, ms),
				fmt.Sprintf("set it to %d or more: a half whose commit is still on its way may be asked about again, and then be there twice", leastHalfAge))
		}
	}
}

// five says whether the settings are of a broker from 5.0 on: earlier ones ignore some that they name.
func five(s settings) bool {
	_, knows := s[setController]
	return knows
}

func orFalse(s string) string {
	if s == "" {
		return "false"
	}
	return s
}

// group looks for strangers in the producer group: two destinations in one group answer each other's check-backs.
func (r *report) group(ctx context.Context, found *cluster, masters []string, group string) {
	for _, name := range masters {
		strangers, seen := 0, false
		b := found.Brokers[name]
		_ = r.p.probe.broker(ctx, b.master(), func(l *link) error {
			a, err := l.ask(ctx, reqProducers, map[string]string{"producerGroup": group}, nil)
			if err != nil {
				return err // also how a broker says that nobody is in the group
			}
			var list struct {
				Connections []struct {
					Client string `json:"clientId"`
				} `json:"connectionSet"`
			}
			if err := json.Unmarshal(standardJSON(a.body), &list); err != nil {
				return err
			}
			seen = true
			for _, c := range list.Connections {
				if !strings.Contains(c.Client, instancePrefix(&r.p.cfg)) {
					strangers++
				}
			}
			return nil
		})
		if seen {
			r.judge("rocketmq.group", strangers > 0, relay.LevelWarn, name, fmt.Sprintf("%d producers that are no relays are in the group %s", strangers, group),
				"give the destination a producer group of its own")
		}
	}
}

// topics judges those that are configured, else all, by the names of the routes.
func (r *report) topics(routes map[string]*route) {
	names := r.p.cfg.Topics
	if names == nil {
		names = slices.Sorted(maps.Keys(routes))
	}
	for _, target := range names {
		found := routes[target]
		if found == nil || len(found.queues(permWrite)) == 0 {
			r.add("rocketmq.topic", relay.LevelFail, target, "no name server knows a queue to write to of the topic "+target, fmt.Sprintf(
				"create it on every master: mqadmin updateTopic -c %s -t %s -w %d -r %d -p 6", strings.Split(r.found.Cluster, "/")[0], target, recommendedNum, recommendedNum))
			continue
		}
		r.topic(target, found)
	}
}

func (r *report) topic(target string, found *route) {
	now := found.queues(permWrite)
	inUse, moved := len(now), false
	if pins := r.p.pins.Load(); pins != nil {
		t := (*pins)[target]
		if inUse = 0; t != nil {
			inUse = len(t.lanes)
		}
		moved = found.changed(t)
	}
	r.judge("rocketmq.topic_queues", moved, relay.LevelWarn, target, fmt.Sprintf("%d queues, %d in use", len(now), inUse),
		"the lanes change as soon as the destination is drained; keys move to other queues")
	least := 0
	for _, q := range now {
		if n, ok := r.limits[q.broker]; ok && (least == 0 || n < least) {
			least = n
		}
	}
	if least > 0 {
		r.found.Limits[target] = min(least, maxFrame)
	}
}
