package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/socket"
)

// prober asks name servers and brokers questions, over connections that live as long as a few questions do. It changes nothing but by createTopic. Its
// methods may be called from any goroutine.
type prober struct {
	servers []string
	login   func() (string, string, error)
	connect time.Duration
	write   time.Duration
	user    time.Duration
	good    atomic.Int32 // index of the name server that answered last
}

func newProber(c Config) *prober {
	return &prober{servers: c.NameServers, login: c.Login, connect: c.Connect, write: c.WriteTimeout, user: c.TCPUserTimeout}
}

// answerError is a definite answer that is no success.
type answerError struct {
	code   int
	remark string
}

func (e *answerError) Error() string { return fmt.Sprintf("code %d: %s", e.code, firstLine(e.remark)) }

// firstLine leaves out the Java stack that some answers carry.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}

// loginError means that Login gave no credentials.
type loginError struct{ err error }

func (e *loginError) Error() string { return "no credentials: " + e.err.Error() }

func (p *prober) credentials() (credentials, error) {
	if p.login == nil {
		return credentials{}, nil
	}
	access, secret, err := p.login()
	if err != nil {
		return credentials{}, &loginError{err}
	}
	return credentials{access, secret}, nil
}

// link is one connection. It belongs to one goroutine.
type link struct {
	net.Conn
	p    *prober
	as   credentials
	next int32
	told bool // something was answered
}

func (p *prober) dial(ctx context.Context, addr string) (*link, error) {
	as, err := p.credentials()
	if err != nil {
		return nil, err
	}
	conn, err := socket.Limits{Connect: p.connect, Write: p.write, User: p.user}.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return &link{Conn: conn, p: p, as: as}, nil
}

// ask sends a request and returns its answer; one that is no success is an *answerError.
func (l *link) ask(ctx context.Context, code int, fields map[string]string, body []byte) (*command, error) {
	l.next++
	frame, err := (&command{Code: code, Opaque: l.next, ExtFields: fields, body: body}).encode(l.as)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	limit := begun.Add(l.p.connect)
	if t, ok := ctx.Deadline(); ok && t.Before(limit) {
		limit = t
	}
	_ = l.SetDeadline(limit)
	_ = l.SetWriteDeadline(begun.Add(min(l.p.write, limit.Sub(begun))))
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Now()) })
	defer stop()
	if _, err := l.Write(frame); err != nil {
		return nil, fmt.Errorf("ask %s: %w", l.RemoteAddr(), err)
	}
	for {
		raw, err := readFrame(l)
		if err != nil {
			if !l.told {
				err = l.p.unheard(ctx, l.RemoteAddr().String(), err)
			}
			return nil, fmt.Errorf("ask %s: %w", l.RemoteAddr(), err)
		}
		l.told = true
		answer, err := decode(raw)
		if err != nil {
			return nil, fmt.Errorf("ask %s: %w", l.RemoteAddr(), err)
		}
		if answer.Flag&1 == 0 || answer.Opaque != l.next {
			continue // a broker's own request
		}
		if answer.Code != 0 {
			return answer, &answerError{answer.Code, answer.Remark}
		}
		return answer, nil
	}
}

// names has f ask one name server after the other until one gives a definite answer, the one that did so last first.
func (p *prober) names(ctx context.Context, f func(*link) error) error {
	var errs []error
	first := int(p.good.Load())
	for i := range p.servers {
		n := (first + i) % len(p.servers)
		l, err := p.dial(ctx, p.servers[n])
		if err == nil {
			err = f(l)
			l.Close()
		}
		var answer *answerError
		var login *loginError
		if err == nil || errors.As(err, &answer) || errors.As(err, &login) {
			p.good.Store(int32(n))
			return err
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// broker has f ask one broker.
func (p *prober) broker(ctx context.Context, addr string, f func(*link) error) error {
	l, err := p.dial(ctx, addr)
	if err != nil {
		return err
	}
	defer l.Close()
	return f(l)
}

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
	Queues  []struct {
		Broker string `json:"brokerName"`
		Read   int    `json:"readQueueNums"`
		Write  int    `json:"writeQueueNums"`
		Perm   int    `json:"perm"`
	} `json:"queueDatas"`
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

// cluster is what the name servers know of brokers.
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

// brokerConfig are the settings of a broker.
func (l *link) brokerConfig(ctx context.Context) (settings, error) {
	answer, err := l.ask(ctx, reqBrokerConfig, nil, nil)
	if err != nil {
		return nil, err
	}
	s := settings{}
	for line := range strings.Lines(string(answer.body)) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			s[name] = value
		}
	}
	return s, nil
}

// settings are the values that a broker told; nil = they may not be read.
type settings map[string]string

func (s settings) number(name string) (int, bool) {
	v, err := strconv.Atoi(s[name])
	return v, err == nil
}

// createTopic makes a topic on one broker.
func (l *link) createTopic(ctx context.Context, topic string, queues int) error {
	n := strconv.Itoa(queues)
	_, err := l.ask(ctx, reqCreateTopic, map[string]string{"topic": topic, "defaultTopic": "TBW102", "readQueueNums": n, "writeQueueNums": n,
		"perm": strconv.Itoa(permRead | permWrite), "topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}, nil)
	return err
}
