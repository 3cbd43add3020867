// Package tcpproxy stands between a client and a server on loopback and cuts, holds or drops what passes, at a byte that the test chooses.
//
// It does not know any protocol: who uses it has to make the client connect to Addr instead of the server.
package tcpproxy

import (
	"fmt"
	"net"
	"sync"
)

// Direction of bytes.
type Direction int

// The directions.
const (
	Request Direction = iota // from the client to the server
	Answer                   // from the server to the client
)

// Proxy forwards connections to one target. Its methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup

	mu     sync.Mutex
	free   *sync.Cond // signalled when held, dead or closed change
	links  map[*link]struct{}
	cuts   [2]*cut
	loss   *loss
	watch  *watch
	change func() func([]byte) []byte // see Rewrite
	held   [2]bool
	dead   bool // see Swallow
	closed bool
}

// cut is armed for one direction: the connection on which byte number left passes is cut right before it.
type cut struct {
	left int64
	done chan struct{}
}

// loss waits for a request of at least size bytes at once, and ends its connection before or after it has passed.
type loss struct {
	direction Direction
	size      int
	done      chan struct{}
}

// watch waits for a request of at least size bytes at once to have passed.
type watch struct {
	size int
	done chan struct{}
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	doomed         *loss               // guarded by the proxy's mu: no answer passes any more
	dead           bool                // likewise: nothing passes any more, not even its end
	over           int                 // likewise: directions that have ended, of a dead one
	change         func([]byte) []byte // of answers; nil = none
}

func (l *link) close() {
	for _, c := range []net.Conn{l.client, l.server} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, as a crash gives it; nothing that is queued leaves any more
		}
		_ = c.Close()
	}
}

// New starts a proxy on a free loopback port. The target need not be up.
func New(target string) (*Proxy, error) { return NewAt("127.0.0.1:0", target) }

// NewAt is New with an address to listen on, for a server that tells its clients where to connect.
func NewAt(listen, target string) (*Proxy, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("tcpproxy: %w", err)
	}
	p := &Proxy{listener: l, target: target, links: map[*link]struct{}{}}
	p.free = sync.NewCond(&p.mu)
	p.tasks.Add(1)
	go p.accept()
	return p, nil
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut lets n more bytes pass in a direction, over all connections together, and then ends the connection that carries the next one. It does so once; the
// returned channel is closed when it has happened. A second Cut of the same direction replaces the first.
func (p *Proxy) Cut(d Direction, n int64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &cut{left: n, done: make(chan struct{})}
	p.cuts[d] = c
	return c.done
}

// Lose ends the next connection on which at least size bytes of a request come at once: with Request before they pass, with Answer after they have passed
// and before anything comes back. So a test can mean the request that it cares about, whatever a client says before it on a new connection. It does so
// once; the returned channel is closed when it has happened. A second Lose replaces the first.
func (p *Proxy) Lose(d Direction, size int) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loss = &loss{direction: d, size: size, done: make(chan struct{})}
	return p.loss.done
}

// Passed returns a channel that is closed right before the next request of at least size bytes at once passes: while it is open, the server has got no byte
// of one. A second Passed replaces the first.
func (p *Proxy) Passed(size int) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch = &watch{size: size, done: make(chan struct{})}
	return p.watch.done
}

// Hold stops forwarding in a direction without closing anything: a black hole. Release ends it, and what was held goes on.
func (p *Proxy) Hold(d Direction)    { p.hold(d, true) }
func (p *Proxy) Release(d Direction) { p.hold(d, false) }

func (p *Proxy) hold(d Direction, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[d] = on
	p.free.Broadcast()
}

// Swallow makes every connection a dead one, those that there are and those that are made until Heal: what either side says is taken and goes nowhere, and nobody
// learns of the other's end. They stay dead after Heal, as those do that a firewall has forgotten; new ones work again then.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	for l := range p.links {
		l.dead = true
	}
	p.free.Broadcast()
}

// Heal ends Swallow for connections that are made from now on.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = false
}

// Rewrite puts a function of its own, which each returns, between server and client of each connection that is made from now on: it gets what the server says, in
// pieces as they come, and gives what the client hears instead, nothing perhaps. It must not keep what it got. So a test can let a real server answer as it never does.
func (p *Proxy) Rewrite(each func() func(answer []byte) []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.change = each
}

// Drop resets all connections.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

// Close resets all connections and returns when nothing runs any more.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.free.Broadcast()
	for l := range p.links {
		l.close()
	}
	p.mu.Unlock()
	err := p.listener.Close()
	p.tasks.Wait()
	return err
}

func (p *Proxy) accept() {
	defer p.tasks.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			(&link{client: client, server: client}).close()
			continue
		}
		l := &link{client: client, server: server}
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			l.close()
			return
		}
		l.dead = p.dead
		if p.change != nil {
			l.change = p.change()
		}
		p.links[l] = struct{}{}
		p.tasks.Add(2)
		p.mu.Unlock()
		go p.forward(l, Request, client, server)
		go p.forward(l, Answer, server, client)
	}
}

func (p *Proxy) forward(l *link, d Direction, from, to net.Conn) {
	defer p.tasks.Done()
	defer p.part(l, from)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if lost := p.lost(l, d, n); lost != nil {
				end(l, lost)
				return
			}
			pass, cut := p.pass(l, d, n)
			if pass == 0 && cut == nil {
				continue // swallowed
			}
			out := buf[:pass]
			if d == Answer && l.change != nil {
				out = l.change(out)
			}
			if _, werr := to.Write(out); werr != nil {
				return
			}
			if cut != nil {
				end(l, cut.done)
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// part ends a link when one of its sides has ended; of a dead one it ends that side alone.
func (p *Proxy) part(l *link, from net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.over++; l.dead && l.over < 2 && !p.closed {
		_ = from.Close()
		return
	}
	delete(p.links, l)
	l.close()
}

// end ends a connection without a reset, which could overtake, and destroy, the bytes that have passed.
func end(l *link, done chan struct{}) {
	_ = l.client.Close()
	_ = l.server.Close()
	close(done)
}

// lost says whether n bytes that have come are not to pass, and whom to tell.
func (p *Proxy) lost(l *link, d Direction, n int) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d == Answer {
		if l.doomed == nil {
			return nil
		}
		done := l.doomed.done
		l.doomed = nil
		return done
	}
	x := p.loss
	if x == nil || n < x.size {
		return nil
	}
	p.loss = nil
	if x.direction == Answer {
		l.doomed = x
		return nil
	}
	return x.done
}

// pass says how many of n bytes may pass, waits while the direction is held, and returns the cut that is due after them.
func (p *Proxy) pass(l *link, d Direction, n int) (int, *cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.held[d] && !p.closed && !l.dead {
		p.free.Wait()
	}
	if l.dead {
		return 0, nil
	}
	if w := p.watch; w != nil && d == Request && n >= w.size {
		p.watch = nil
		close(w.done)
	}
	c := p.cuts[d]
	if c == nil {
		return n, nil
	}
	if int64(n) <= c.left {
		c.left -= int64(n)
		return n, nil
	}
	p.cuts[d] = nil
	return int(c.left), c
}
