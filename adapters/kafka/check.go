package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/waybillmq/waybill/relay"
)

const (
	resourceTopic   = 2
	minRetention    = 24 * time.Hour
	minTimestampOld = time.Hour       // a batch keeps its send time while it is open
	minTimestampNew = 5 * time.Minute // clocks differ
)

// Settings of a topic that Check reads (Kafka documentation, "Topic Configs").
const (
	setMinISR    = "min.insync.replicas"
	setMaxBytes  = "max.message.bytes"
	setRetention = "retention.ms"
	setCleanup   = "cleanup.policy"
	setUnclean   = "unclean.leader.election.enable"
	setTimeType  = "message.timestamp.type"
	setTimeOld   = "message.timestamp.before.max.ms"
	setTimeNew   = "message.timestamp.after.max.ms"
	setTimeDiff  = "message.timestamp.difference.max.ms" // up to 3.x
)

// settings are the values of one topic; nil = there is no right to read them.
type settings map[string]string

func (s settings) number(name string) (int64, bool) {
	v, err := strconv.ParseInt(s[name], 10, 64)
	return v, err == nil
}

// describe reads settings of topics, in pieces. Topics that may not be read are absent.
func (c *control) describe(ctx context.Context, topics, names []string) (map[string]settings, error) {
	const piece = 200
	all := make(map[string]settings, len(topics))
	for part := range slices.Chunk(topics, piece) {
		q := &describeconfigs.Request{}
		for _, t := range part {
			q.Resources = append(q.Resources, describeconfigs.RequestResource{ResourceType: resourceTopic, ResourceName: t, ConfigNames: names})
		}
		m, err := c.ask(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, r := range m.(*describeconfigs.Response).Resources {
			if r.ErrorCode != 0 {
				continue
			}
			s := settings{}
			for _, e := range r.ConfigEntries {
				s[e.ConfigName] = e.ConfigValue
			}
			all[r.ResourceName] = s
		}
	}
	return all, nil
}

// Check asks whether the cluster is configured to keep what it confirms, and for the size limits of the topics. It works before Open too. An error means
// that no broker answered, or, as a *relay.ConfigError and beside the finding that says so, that none lets us in.
func (p *Publisher) Check(ctx context.Context) (relay.Findings, error) {
	ctx, done, err := p.calls.Enter(ctx)
	if err != nil {
		return relay.Findings{}, err
	}
	defer done()
	res, err := p.control.metadata(ctx, p.cfg.Topics)
	if refused := p.dialer.refusal(err); refused != nil {
		r := report{p: p}
		r.refused(refused)
		return r.found, refused.config()
	}
	if err != nil {
		return relay.Findings{}, fmt.Errorf("%w: kafka: no broker of %v answered: %s", relay.ErrUnavailable, p.cfg.Brokers, reason(err))
	}
	r := report{p: p, found: relay.Findings{Cluster: res.ClusterID, Limits: map[string]int{}}}
	r.add("kafka.reachable", relay.LevelOK, strings.Join(p.cfg.Brokers, ","), fmt.Sprintf("%d brokers answer as cluster %s", len(res.Brokers), res.ClusterID), "")
	if before := p.ClusterID(); before != "" && before != res.ClusterID {
		r.add("kafka.cluster", relay.LevelFail, res.ClusterID, "this is another cluster than the one that was opened: "+before, "check the addresses of the brokers")
	}
	r.admissions(ctx, res)
	if p.cfg.Idempotence {
		r.producerID(ctx)
	} else {
		r.add("kafka.producer_id", relay.LevelFail, "idempotence", "idempotence is off: every ambiguous answer may store a batch twice and out of order",
			"set idempotence: true unless the broker refuses InitProducerId")
	}
	slices.SortFunc(res.Topics, func(a, b metadata.ResponseTopic) int { return strings.Compare(a.Name, b.Name) })
	var names []string
	for i := range res.Topics {
		if t := &res.Topics[i]; !t.IsInternal && t.ErrorCode == 0 {
			names = append(names, t.Name)
		}
	}
	all, err := p.control.describe(ctx, names, nil)
	if err != nil {
		r.add("kafka.settings", relay.LevelUnseen, "topics", "the settings of the topics could not be read: "+reason(err), "")
	}
	for i := range res.Topics {
		if !res.Topics[i].IsInternal {
			r.topic(&res.Topics[i], all[res.Topics[i].Name])
		}
	}
	return r.found, nil
}

// Concerns says whether a finding of Check is about what this publisher does: about the cluster, a topic that the configuration names, or one that something
// was presented for. A cluster has topics of others too, and when routes compute topic names Check reports them all. It may be called at any time.
func (p *Publisher) Concerns(f relay.Finding) bool {
	switch f.ID {
	case "kafka.reachable", "kafka.cluster", "kafka.producer_id", "kafka.admission", "kafka.certificate", "kafka.client_certificate":
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
	p     *Publisher
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

func (r *report) producerID(ctx context.Context) {
	_, err := r.p.control.producerID(ctx)
	var code codeError
	switch {
	case err == nil:
		r.add("kafka.producer_id", relay.LevelOK, "cluster", "the broker gives producer ids: repeats are recognised", "")
	case errors.As(err, &code):
		r.add("kafka.producer_id", relay.LevelFail, "cluster", "the broker refuses a producer id: "+code.Error(), decideText(signal(code)))
	default:
		r.add("kafka.producer_id", relay.LevelUnseen, "cluster", "asking for a producer id failed: "+reason(err), "try again")
	}
}

func decideText(s signal) string {
	r, _ := decide(s, false, false, 0)
	return r.text
}

// topic judges one topic; s is nil when its settings may not be read.
func (r *report) topic(t *metadata.ResponseTopic, s settings) {
	if t.ErrorCode != 0 {
		r.add("kafka.topic", relay.LevelFail, t.Name, "the broker answers "+codeError(t.ErrorCode).Error(), decideText(signal(t.ErrorCode)))
		return
	}
	replicas, inSync, leaderless := 0, 0, 0
	for i := range t.Partitions {
		part := &t.Partitions[i]
		if i == 0 || len(part.ReplicaNodes) < replicas {
			replicas = len(part.ReplicaNodes)
		}
		if i == 0 || len(part.IsrNodes) < inSync {
			inSync = len(part.IsrNodes)
		}
		if part.LeaderID < 0 {
			leaderless++
		}
	}
	r.judge("kafka.leaders", leaderless > 0, relay.LevelWarn, t.Name, fmt.Sprintf("%d of %d partitions have no leader", leaderless, len(t.Partitions)), "bring the brokers of these partitions back")
	r.partitions(t)
	level := relay.LevelFail
	if replicas == 2 {
		level = relay.LevelWarn
	}
	r.judge("kafka.replication_factor", replicas < 3, level, t.Name, fmt.Sprintf("the replication factor is %d", replicas), "give the topic 3 replicas: with fewer the loss of a broker loses messages or stops writes")
	if s == nil {
		r.add("kafka.settings", relay.LevelUnseen, t.Name, "there is no right to read the settings of the topic", "grant DESCRIBE_CONFIGS on the topic, then: waybill config check")
		return
	}
	r.durability(t.Name, s, replicas, inSync)
	r.limits(t.Name, s)
	r.times(t.Name, s)
}

func (r *report) partitions(t *metadata.ResponseTopic) {
	pinned := len(t.Partitions)
	if pins := r.p.pins.Load(); pins != nil {
		pinned = 0
		if have := (*pins)[t.Name]; have != nil {
			pinned = len(have.lanes)
		}
	}
	r.judge("kafka.partitions", pinned != len(t.Partitions), relay.LevelWarn, t.Name, fmt.Sprintf("%d partitions, %d in use", len(t.Partitions), pinned),
		"the lanes change as soon as the destination is drained; keys move to other partitions")
}

func (r *report) durability(name string, s settings, replicas, inSync int) {
	if minISR, ok := s.number(setMinISR); ok {
		r.judge("kafka.min_insync_replicas", minISR < 2, relay.LevelFail, name, fmt.Sprintf("min.insync.replicas is %d", minISR),
			"set it to 2 or more: with 1 a message counts as stored when it is on one broker only")
		r.judge("kafka.in_sync", replicas > 1 && int64(inSync) <= minISR, relay.LevelWarn, name, fmt.Sprintf("at least %d replicas are in sync", inSync),
			"one more broker lost, and the topic takes no messages: bring brokers back, or use more replicas than min.insync.replicas")
	}
	r.judge("kafka.unclean_leader_election", s[setUnclean] == "true", relay.LevelFail, name, "unclean.leader.election.enable is "+s[setUnclean],
		"set it to false: a replica without the newest messages may become leader, and they are lost")
}

func (r *report) limits(name string, s settings) {
	n, ok := s.number(setMaxBytes)
	if !ok {
		return
	}
	r.found.Limits[name] = int(max(n-batchSpare, 0))
	r.judge("kafka.max_message_bytes", n-batchSpare < int64(r.p.cfg.Batch.MaxBytes), relay.LevelWarn, name, fmt.Sprintf("max.message.bytes is %d", n),
		fmt.Sprintf("batches are cut smaller than batch.max_bytes (%d): raise the one or lower the other", r.p.cfg.Batch.MaxBytes))
	r.judge("kafka.cleanup_policy", strings.Contains(s[setCleanup], "compact"), relay.LevelWarn, name, "cleanup.policy is "+s[setCleanup],
		"a compacted topic refuses messages without a key, and keeps only the newest of a key")
}

func (r *report) times(name string, s settings) {
	if ms, ok := s.number(setRetention); ok {
		d := time.Duration(min(ms, 1<<40)) * time.Millisecond
		r.judge("kafka.retention", ms >= 0 && d < minRetention, relay.LevelWarn, name, "retention.ms is "+s[setRetention], "messages vanish within a day: set it to 86400000 or more")
	}
	if s[setTimeType] == "LogAppendTime" {
		r.add("kafka.timestamps", relay.LevelOK, name, "the broker sets the timestamps", "")
		return
	}
	narrow := ""
	for _, l := range []struct {
		name  string
		least time.Duration
	}{{setTimeOld, minTimestampOld}, {setTimeNew, minTimestampNew}, {setTimeDiff, minTimestampOld}} {
		if ms, ok := s.number(l.name); ok && ms < l.least.Milliseconds() {
			narrow = fmt.Sprintf("%s is %d", l.name, ms)
		}
	}
	text := narrow
	if text == "" {
		text = "the limits of record timestamps are wide enough"
	}
	r.judge("kafka.timestamps", narrow != "", relay.LevelWarn, name, text, "a clock that is off by more, or a long outage, makes the broker refuse batches: widen it")
}
