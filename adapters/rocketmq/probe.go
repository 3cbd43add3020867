package rocketmq

import (
	"context"
	"fmt"
	"net"
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

// broker has f ask one broker.
func (p *prober) broker(ctx context.Context, addr string, f func(*link) error) error {
	l, err := p.dial(ctx, addr)
	if err != nil {
		return err
	}
	defer l.Close()
	return f(l)
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
