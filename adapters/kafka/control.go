package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/metadata"
)

// control asks any broker questions over one connection of its own. The library's transport answers them from a cache that is seconds old, reports "no
// such topic" when all brokers are down, and looks for a transaction coordinator before it asks for a producer id.
//
// turn serialises the questions and guards the fields below it.
type control struct {
	d        *dialer
	clientID string
	connect  time.Duration

	turn  chan struct{}
	conn  *protocol.Conn
	addrs []string // bootstrap, then what the cluster advertises

	closeOnce sync.Once
}

func newControl(d *dialer, cfg Config) *control {
	return &control{
		d: d, clientID: cfg.ClientID, connect: cfg.Timeouts.Connect,
		turn: make(chan struct{}, 1), addrs: append([]string(nil), cfg.Brokers...),
	}
}

// ask sends one question and returns its answer. It may go to several brokers, one after the other: only questions that may be asked twice belong here.
func (c *control) ask(ctx context.Context, q protocol.Message) (protocol.Message, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.conn != nil {
		a, err := c.roundTrip(ctx, q)
		if err == nil {
			return a, nil
		}
	}
	var errs []error
	for _, addr := range c.order() {
		if err := ctx.Err(); err != nil {
			errs = append(errs, err)
			break
		}
		conn, err := c.open(ctx, addr)
		if err == nil {
			c.conn = conn
			var a protocol.Message
			if a, err = c.roundTrip(ctx, q); err == nil {
				c.d.answeredQuestion(addr)
				return a, nil
			}
			err = fmt.Errorf("ask %s: %w", addr, c.d.explain(ctx, addr, err))
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (c *control) roundTrip(ctx context.Context, q protocol.Message) (protocol.Message, error) {
	conn := c.conn
	limit := time.Now().Add(c.connect)
	if t, ok := ctx.Deadline(); ok && t.Before(limit) {
		limit = t
	}
	_ = conn.SetDeadline(limit)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	a, err := conn.RoundTrip(q)
	if !stop() && err == nil {
		err = ctx.Err() // the deadline may have been moved under the next question
	}
	if err != nil {
		_ = conn.Close()
		c.conn = nil
		return nil, err
	}
	return a, nil
}

// order is every known address once: the ones in good standing first, shuffled, so that relays do not all sit on the first broker.
func (c *control) order() []string {
	list := append([]string(nil), c.addrs...)
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	good := list[:0:0]
	var hung []string
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	for _, a := range list {
		if lasts(c.d.suspects, a) {
			hung = append(hung, a)
		} else {
			good = append(good, a)
		}
	}
	return append(good, hung...)
}

// open connects and agrees on the versions of requests.
func (c *control) open(ctx context.Context, addr string) (*protocol.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.connect)
	defer cancel()
	raw, err := c.d.plain(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn := protocol.NewConn(raw, c.clientID)
	limit, _ := ctx.Deadline()
	_ = conn.SetDeadline(limit)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if err := agree(conn); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("agree on versions with %s: %w", addr, c.d.explain(ctx, addr, err))
	}
	return conn, nil
}

// metadata asks for the given topics; nil = all.
func (c *control) metadata(ctx context.Context, topics []string) (*metadata.Response, error) {
	m, err := c.ask(ctx, &metadata.Request{TopicNames: topics})
	if err != nil {
		return nil, err
	}
	a := m.(*metadata.Response)
	c.learn(a)
	return a, nil
}

// learn adds the advertised addresses, so that the loss of the bootstrap brokers is survived.
func (c *control) learn(a *metadata.Response) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	default:
		return // somebody asks right now; the next answer tells the same
	}
	addrs := append([]string(nil), c.d.cfg.Brokers...)
	for _, b := range a.Brokers {
		addr := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		known := false
		for _, have := range addrs {
			known = known || have == addr
		}
		if !known {
			addrs = append(addrs, addr)
		}
	}
	c.addrs = addrs
}

// Between two questions to a broker that is coming up.
const (
	comingUpPause = 20 * time.Millisecond // doubled each time
	comingUpCap   = 500 * time.Millisecond
)

// comingUp says whether a broker without producer ids will have some in a moment: a young cluster has not given its brokers their first block yet. The Java
// client asks again after the same codes.
func comingUp(code codeError) bool {
	switch code {
	case 14, 15, 16, 51: // COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, CONCURRENT_TRANSACTIONS
		return true
	}
	return false
}

// producerID fetches a fresh session. A broker that is coming up is asked again until ctx ends, but no longer than connecting may take. codeError: the broker
// refused; anything else: it could not be asked.
func (c *control) producerID(ctx context.Context) (session, error) {
	limit := time.NewTimer(c.connect)
	defer limit.Stop()
	for pause := comingUpPause; ; pause = min(2*pause, comingUpCap) {
		s, err := c.askProducerID(ctx)
		var code codeError
		if !errors.As(err, &code) || !comingUp(code) {
			return s, err
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
			continue
		case <-limit.C:
		case <-ctx.Done():
		}
		again.Stop()
		return session{}, code
	}
}

func (c *control) askProducerID(ctx context.Context) (session, error) {
	m, err := c.ask(ctx, &initproducerid.Request{TransactionTimeoutMs: 60_000, ProducerID: -1, ProducerEpoch: -1})
	if err != nil {
		return session{}, err
	}
	a := m.(*initproducerid.Response)
	if a.ErrorCode != 0 {
		return session{}, codeError(a.ErrorCode)
	}
	return session{pid: a.ProducerID, epoch: a.ProducerEpoch, live: true}, nil
}

// close closes the connection once nobody asks any more; the caller has closed the sockets, so that happens soon.
func (c *control) close() {
	c.closeOnce.Do(func() {
		c.turn <- struct{}{}
		if c.conn != nil {
			_ = c.conn.Close()
			c.conn = nil
		}
		<-c.turn
	})
}
