package rocketmq

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// brokerData is a broker of one name: its master has id 0.
type brokerData struct {
	Name    string            `json:"brokerName"`
	Cluster string            `json:"cluster"`
	Addrs   map[string]string `json:"brokerAddrs"` // by broker id
}

func (b *brokerData) master() string { return b.Addrs["0"] }

// route is where the queues of a topic are.
type route struct {
	Brokers []brokerData `json:"brokerDatas"`
	Queues  []queues     `json:"queueDatas"`
}

// queues are those that one broker has of a topic.
type queues struct {
	Broker string `json:"brokerName"`
	Read   int    `json:"readQueueNums"`
	Write  int    `json:"writeQueueNums"`
	Perm   int    `json:"perm"`
}

const permWrite, permRead = 2, 4

// maxQueues bounds what an answer may say of one topic.
const maxQueues = 100_000

// queue is one queue of a topic.
type queue struct {
	broker string
	id     int32
}

// queues are those that may be written (or read), sorted by broker and id; the library's order depends on the name server.
func (r *route) queues(perm int) (all []queue) {
	for _, q := range r.Queues {
		n := q.Write
		if perm == permRead {
			n = max(q.Read, q.Write)
		}
		if q.Perm&perm == 0 || n < 0 || n+len(all) > maxQueues {
			continue
		}
		for id := range n {
			all = append(all, queue{q.Broker, int32(id)})
		}
	}
	slices.SortFunc(all, func(a, b queue) int {
		if c := strings.Compare(a.broker, b.broker); c != 0 {
			return c
		}
		return int(a.id) - int(b.id)
	})
	return slices.Compact(all)
}

// master is the address of a broker's master; empty when it has none now.
func (r *route) master(broker string) string {
	for i := range r.Brokers {
		if r.Brokers[i].Name == broker {
			return r.Brokers[i].master()
		}
	}
	return ""
}

const codeNoTopic = 17 // the answer of a name server that does not know the topic, and of a broker

// route asks for a topic; nil when the name server does not know it.
func (l *link) route(ctx context.Context, topic string) (*route, error) {
	answer, err := l.ask(ctx, reqRoute, map[string]string{"topic": topic}, nil)
	var no *answerError
	if errors.As(err, &no) && no.code == codeNoTopic {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &route{}
	if err := json.Unmarshal(standardJSON(answer.body), r); err != nil {
		return nil, fmt.Errorf("route of %s: %w", topic, errFrame)
	}
	return r, nil
}

// routes asks for several topics; those that the name server does not know are absent.
func (l *link) routes(ctx context.Context, topics []string) (map[string]*route, error) {
	found := map[string]*route{}
	for _, name := range topics {
		r, err := l.route(ctx, name)
		if err != nil {
			return nil, err
		}
		if r != nil {
			found[name] = r
		}
	}
	return found, nil
}

// cluster is what name servers know of brokers.
type cluster struct {
	Brokers  map[string]brokerData `json:"brokerAddrTable"`
	Clusters map[string][]string   `json:"clusterAddrTable"`
}

func (l *link) cluster(ctx context.Context) (*cluster, error) {
	answer, err := l.ask(ctx, reqCluster, nil, nil)
	if err != nil {
		return nil, err
	}
	c := &cluster{}
	if err := json.Unmarshal(standardJSON(answer.body), c); err != nil {
		return nil, fmt.Errorf("brokers of the cluster: %w", errFrame)
	}
	return c, nil
}

// topics are the names of all topics.
func (l *link) topics(ctx context.Context) ([]string, error) {
	answer, err := l.ask(ctx, reqAllTopics, nil, nil)
	if err != nil {
		return nil, err
	}
	var list struct {
		Topics []string `json:"topicList"`
	}
	if err := json.Unmarshal(standardJSON(answer.body), &list); err != nil {
		return nil, fmt.Errorf("list of topics: %w", errFrame)
	}
	slices.Sort(list.Topics)
	return list.Topics, nil
}

// mergeRoutes joins what two name servers know of a topic; nil = it does not know it. Of a broker that has different numbers of queues with them the larger counts:
// the other has not heard of it yet.
func mergeRoutes(a, b *route) *route {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	sum := &route{Brokers: slices.Clone(a.Brokers), Queues: slices.Clone(a.Queues)}
	for _, broker := range b.Brokers {
		if i := slices.IndexFunc(sum.Brokers, func(x brokerData) bool { return x.Name == broker.Name }); i >= 0 {
			sum.Brokers[i] = sum.Brokers[i].merge(broker)
		} else {
			sum.Brokers = append(sum.Brokers, broker)
		}
	}
	for _, q := range b.Queues {
		i := slices.IndexFunc(sum.Queues, func(x queues) bool { return x.Broker == q.Broker })
		switch {
		case i < 0:
			sum.Queues = append(sum.Queues, q)
		case q.Write > sum.Queues[i].Write:
			sum.Queues[i] = q
		}
	}
	return sum
}

// mergeTopics joins the routes of several topics.
func mergeTopics(a, b map[string]*route) map[string]*route {
	sum := maps.Clone(b)
	for name, r := range a {
		sum[name] = mergeRoutes(r, b[name])
	}
	return sum
}

// merge joins the addresses that two name servers know of a broker.
func (b brokerData) merge(other brokerData) brokerData {
	addrs := maps.Clone(other.Addrs)
	if addrs == nil {
		addrs = map[string]string{}
	}
	maps.Copy(addrs, b.Addrs)
	b.Addrs = addrs
	return b
}

// mergeClusters joins what two name servers know of brokers.
func mergeClusters(a, b *cluster) *cluster {
	sum := &cluster{Brokers: maps.Clone(b.Brokers), Clusters: maps.Clone(b.Clusters)}
	for name, broker := range a.Brokers {
		if other, both := sum.Brokers[name]; both {
			broker = broker.merge(other)
		}
		if sum.Brokers == nil {
			sum.Brokers = map[string]brokerData{}
		}
		sum.Brokers[name] = broker
	}
	for name, brokers := range a.Clusters {
		if sum.Clusters == nil {
			sum.Clusters = map[string][]string{}
		}
		all := slices.Concat(brokers, sum.Clusters[name])
		slices.Sort(all)
		sum.Clusters[name] = slices.Compact(all)
	}
	return sum
}
