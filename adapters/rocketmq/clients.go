package rocketmq

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	staleAge   = time.Second      // a client is not replaced more often because of its routes
	suspectAge = 10 * time.Second // nor because of its connections: each leaves goroutines behind for 10 s
	loginAge   = 5 * time.Second
	resolveFor = 3 * time.Second
)

// clients holds the library's client that new flights begin with.
type clients struct {
	mu      sync.Mutex // guards the rest; never held across a call that waits
	now     *client    // nil: the next flight makes one
	servers []string   // addresses of the name servers, resolved; nil = not yet
	over    bool
}

// borrow returns the client for one flight; giveBack ends it. Nil: the answer says why there is none.
func (p *Publisher) borrow(ctx context.Context) (*client, answer) {
	as, err := p.probe.credentialsOf(p)
	if err != nil {
		return nil, answer{sig: sigNoLogin, detail: reason(err)}
	}
	if p.addresses() == nil {
		p.resolve(ctx)
	}
	c := &p.clients
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over:
		return nil, answer{sig: sigClosed}
	case c.servers == nil:
		return nil, answer{sig: sigNoClient}
	case c.now != nil && c.now.panics != panics.Load():
		p.drop()
	}
	if c.now == nil {
		fresh, err := newClient(&p.cfg, c.servers, as)
		if err != nil {
			return nil, answer{sig: sigNoClient, detail: reason(err)}
		}
		c.now = fresh
	}
	c.now.flights.Add(1)
	return c.now, answer{}
}

func (p *Publisher) giveBack(cl *client) { cl.flights.Done() }

// credentialsOf asks Login only when a client is to be made.
func (pr *prober) credentialsOf(p *Publisher) (credentials, error) {
	p.clients.mu.Lock()
	have := p.clients.now
	p.clients.mu.Unlock()
	if have != nil {
		return have.as, nil
	}
	return pr.credentials()
}

// drop retires the present client; mu is held.
func (p *Publisher) drop() {
	cl := p.clients.now
	p.clients.now = nil
	p.renewed.Add(1)
	p.tasks.Go(cl.retire)
}

// renew replaces a client, if it is still the present one and at least so old.
func (p *Publisher) renew(cl *client, age time.Duration) {
	p.clients.mu.Lock()
	defer p.clients.mu.Unlock()
	if p.clients.now == cl && time.Since(cl.made) >= age {
		p.drop()
	}
}

// act does what an answer asks of the publisher.
func (p *Publisher) act(cl *client, do action) {
	if do&suspect != 0 {
		p.renew(cl, suspectAge)
	}
	if do&login != 0 {
		if as, err := p.probe.credentials(); err == nil && as != cl.as {
			p.renew(cl, loginAge)
		}
	}
}

func (p *Publisher) addresses() []string {
	p.clients.mu.Lock()
	defer p.clients.mu.Unlock()
	return p.clients.servers
}

// freshen replaces the client when the name servers have other addresses, or Login gives other credentials.
func (p *Publisher) freshen(ctx context.Context) {
	changed := p.resolve(ctx)
	as, err := p.probe.credentials()
	p.clients.mu.Lock()
	defer p.clients.mu.Unlock()
	if cl := p.clients.now; cl != nil && (changed || err == nil && as != cl.as) {
		p.drop()
	}
}

// resolve looks the name servers up, because the library takes addresses only. It says whether they are others than before; a name that cannot be looked up keeps
// what it was.
func (p *Publisher) resolve(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, resolveFor)
	defer cancel()
	found, err := lookUp(ctx, p.cfg.NameServers)
	p.clients.mu.Lock()
	defer p.clients.mu.Unlock()
	if len(found) == 0 || err != nil && p.clients.servers != nil || slices.Equal(found, p.clients.servers) {
		return false
	}
	p.clients.servers = found
	return true
}

// lookUp resolves host:port to addresses, sorted.
func lookUp(ctx context.Context, servers []string) (all []string, err error) {
	var errs []error
	for _, s := range servers {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return nil, err
		}
		if net.ParseIP(host) != nil {
			all = append(all, s)
			continue
		}
		ips, err := net.DefaultResolver.LookupHost(ctx, host)
		errs = append(errs, err)
		for _, ip := range ips {
			all = append(all, net.JoinHostPort(ip, port))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), errors.Join(errs...)
}

// retireAll ends the present client for good.
func (p *Publisher) retireAll() {
	p.clients.mu.Lock()
	defer p.clients.mu.Unlock()
	p.clients.over = true
	if p.clients.now != nil {
		p.drop()
	}
}
