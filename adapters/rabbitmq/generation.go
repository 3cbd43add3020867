package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/adapters/internal/socket"
	"github.com/waybillmq/waybill/relay"
)

const (
	frameMax   = 131072 // the server's default
	suspectFor = 10 * time.Second
)

// generation is one connection and what was learned through it. Any end of the connection ends it, for good.
type generation struct {
	conn     *amqp.Connection
	socket   *socket.Socket
	batches  *batcher
	tasks    *sync.WaitGroup // the publisher's
	frameMax int
	cluster  string
	host     string
	done     chan struct{} // closed when the library has let go of the connection

	certificateEnd time.Time // of the server's certificate; zero without TLS

	mu        sync.Mutex // guards the fields below
	blocked   bool
	freeAt    time.Time     // when the last alarm ended
	changed   chan struct{} // closed, and replaced, when blocked changes
	exchanges map[string]*question
}

// question is one passive declaration that several lanes wait for.
type question struct {
	answered chan struct{}
	err      error // nil = the exchange exists; valid when answered is closed
}

// signalError is an error that knows its row of the error map.
type signalError struct {
	signal signal
	text   string
}

func (e *signalError) Error() string { return e.text }

// login answers the server's question for credentials. The library would hide why a login is refused, because it does not say that it understands the
// server's words; it asks for the mechanism when it has listed what it understands, and that is when this adds to the list.
type login struct {
	amqp.PlainAuth
	properties amqp.Table
}

// Mechanism is PLAIN.
func (l *login) Mechanism() string {
	if list, ok := l.properties["capabilities"].(amqp.Table); ok {
		list["authentication_failure_close"] = true
	}
	return l.PlainAuth.Mechanism()
}

// connect makes a generation from the first host that lets us in, in random order, those that failed a moment ago last. Errors: *relay.ConfigError when a host
// refuses for a reason that only a person can change, else what the last host said.
func (p *Publisher) connect(ctx context.Context, trust func() bool) (*generation, error) {
	var errs []error
	for _, host := range p.order() {
		g, err := p.connectTo(ctx, host, trust)
		p.suspect(host, err != nil)
		if err == nil {
			return g, nil
		}
		var refused *signalError
		if errors.As(err, &refused) || ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", host, err))
	}
	return nil, errors.Join(errs...)
}

// order is the hosts in the order in which they are tried.
func (p *Publisher) order() []string {
	hosts := slices.Clone(p.cfg.Hosts)
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	p.hostsMu.Lock()
	defer p.hostsMu.Unlock()
	suspect := func(h string) int {
		if time.Now().Before(p.suspects[h]) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(hosts, func(a, b string) int { return suspect(a) - suspect(b) })
	return hosts
}

func (p *Publisher) suspect(host string, yes bool) {
	p.hostsMu.Lock()
	defer p.hostsMu.Unlock()
	delete(p.suspects, host)
	if yes {
		p.suspects[host] = time.Now().Add(suspectFor)
	}
}

func (p *Publisher) connectTo(ctx context.Context, host string, trust func() bool) (*generation, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeouts.Connect)
	defer cancel()
	user, password, err := p.cfg.login()
	if err != nil {
		return nil, &signalError{sigLogin, fmt.Sprintf("the credentials cannot be read: %v", err)}
	}
	to := host
	if p.via != nil {
		to = p.via(host)
	}
	raw, conn, err := p.cfg.dial(ctx, host, to, &p.names, trust)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	b := newBatcher(conn)
	properties := amqp.NewConnectionProperties()
	properties["product"] = "waybill"
	properties.SetClientConnectionName(p.cfg.ConnectionName)
	g := &generation{socket: raw, batches: b, host: host, tasks: &p.tasks, done: make(chan struct{}), changed: make(chan struct{}), exchanges: map[string]*question{}}
	g.conn, err = amqp.Open(b, amqp.Config{SASL: []amqp.Authentication{&login{amqp.PlainAuth{Username: user, Password: password}, properties}}, Vhost: p.cfg.Vhost,
		FrameSize: frameMax, Heartbeat: p.cfg.Heartbeat, Properties: properties, Locale: "en_US"})
	if err != nil {
		if ctx.Err() != nil {
			p.names.Silent(raw.RemoteAddr())
		}
		_ = b.Close()
		<-b.ended
		return nil, refused(err)
	}
	g.frameMax = g.conn.Config.FrameSize
	if secure, ok := conn.(*tls.Conn); ok {
		g.certificateEnd = secure.ConnectionState().PeerCertificates[0].NotAfter
	}
	g.cluster, _ = g.conn.Properties["cluster_name"].(string)
	p.tasks.Go(func() {
		g.watch(g.conn.NotifyClose(make(chan *amqp.Error, 1)), g.conn.NotifyBlocked(make(chan amqp.Blocking, 16)))
	})
	return g, nil
}

// refused tells a refusal that the server put into words from a connection that ended.
func refused(err error) error {
	var e *amqp.Error
	if !errors.As(err, &e) || !e.Server {
		return fmt.Errorf("the connection ended during the login: %w", net.ErrClosed)
	}
	switch e.Code {
	case amqp.AccessRefused:
		return &signalError{sigLogin, e.Reason}
	case amqp.NotAllowed:
		return &signalError{sigVhost, e.Reason}
	}
	return e
}

// watch follows what the server says about the whole connection, until it ends.
func (g *generation) watch(closed <-chan *amqp.Error, blocked <-chan amqp.Blocking) {
	defer close(g.done)
	defer func() { g.end(); <-g.batches.ended }()
	for {
		select {
		case <-closed:
			return
		case b, ok := <-blocked:
			if !ok {
				return
			}
			g.mu.Lock()
			if g.blocked != b.Active {
				g.blocked, g.freeAt = b.Active, time.Now()
				close(g.changed)
				g.changed = make(chan struct{})
			}
			g.mu.Unlock()
		}
	}
}

// alarm says whether the server has an alarm, since when the connection has been as it is, and what is closed when that changes.
func (g *generation) alarm() (on bool, since time.Time, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocked, g.freeAt, g.changed
}

// alive says whether messages may be sent through it. It has no connection yet while it is made.
func (g *generation) alive() bool { return !g.conn.IsClosed() }

// end closes the socket under the library, which then lets go: asking it to close would wait for a server that may not read.
func (g *generation) end() {
	_ = g.socket.Close()
	_ = g.batches.Close()
}

// exists asks whether an exchange exists, on a channel of its own because the answer no closes it. The answer yes is remembered as long as nothing says
// otherwise. Errors: *signalError for a definite no, anything else: no answer.
func (g *generation) exists(ctx context.Context, exchange string, declare bool) error {
	if exchange == "" {
		return nil
	}
	g.mu.Lock()
	q := g.exchanges[exchange]
	if q == nil {
		q = &question{answered: make(chan struct{})}
		g.exchanges[exchange] = q
		g.tasks.Go(func() {
			defer close(q.answered)
			if q.err = ask(g.conn, exchange, declare); q.err != nil {
				g.forget(exchange, q)
			}
		})
	}
	g.mu.Unlock()
	select {
	case <-q.answered:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget makes the next message for an exchange ask anew; with q only when the answer is still that one.
func (g *generation) forget(exchange string, q *question) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if q == nil || g.exchanges[exchange] == q {
		delete(g.exchanges, exchange)
	}
}

// ask declares an exchange passively, or makes it.
func ask(conn *amqp.Connection, exchange string, declare bool) error {
	err := throwAway(conn, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(exchange, amqp.ExchangeTopic, true, false, false, false, nil)
	})
	var e *amqp.Error
	if !errors.As(err, &e) || e.Code != amqp.NotFound {
		return err
	}
	if !declare {
		return &signalError{sigNoExchange, e.Reason}
	}
	err = throwAway(conn, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil)
	})
	if errors.As(err, &e) && e.Server && e.Code == amqp.AccessRefused {
		return &signalError{sigNoExchange, e.Reason}
	}
	return err
}

// throwAway runs f on a channel of its own.
func throwAway(conn *amqp.Connection, f func(*amqp.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := f(ch); err != nil {
		_ = ch.Close() // closed by the server's answer, or with the connection
		return err
	}
	return ch.Close()
}

// configError is err as Open reports it when a person has to act; nil when it is an outage.
func configError(err error) *relay.ConfigError {
	var s *signalError
	if !errors.As(err, &s) {
		return nil
	}
	r := rules[s.signal]
	return &relay.ConfigError{Class: r.class, Text: "rabbitmq: " + r.text + ": " + s.text}
}
