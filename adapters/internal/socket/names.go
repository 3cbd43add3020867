package socket

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

// silentFor is how long an address that did not answer is tried last.
const silentFor = 10 * time.Second

// Names remembers which addresses of a host took a connection and then did not answer, so that the host's others are tried before them. Without it the first one
// would be taken each time: only an address that takes no connection is passed over by itself. The zero value is ready; methods may be called from any goroutine.
type Names struct {
	Resolver *net.Resolver // nil = the system's. Set before the first use

	mu     sync.Mutex // guards silent
	silent map[string]time.Time
}

// Silent says that an address did not answer.
func (n *Names) Silent(addr net.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.silent == nil {
		n.silent = map[string]time.Time{}
	}
	for a, until := range n.silent {
		if now.After(until) {
			delete(n.silent, a)
		}
	}
	n.silent[addr.String()] = now.Add(silentFor)
}

// order is what to connect to for addr, one after the other: addr itself, unless one of several addresses of its host is silent.
func (n *Names) order(ctx context.Context, addr string) []string {
	if n == nil {
		return []string{addr}
	}
	n.mu.Lock()
	now, silent := time.Now(), map[string]bool{}
	for a, until := range n.silent {
		silent[a] = now.Before(until)
	}
	n.mu.Unlock()
	host, port, err := net.SplitHostPort(addr)
	if err != nil || len(silent) == 0 || net.ParseIP(host) != nil {
		return []string{addr}
	}
	found, err := n.resolver().LookupHost(ctx, host)
	if err != nil {
		return []string{addr} // the dialer says why
	}
	for i, ip := range found {
		found[i] = net.JoinHostPort(ip, port)
	}
	return lastSilent(addr, found, silent)
}

// lastSilent is addr alone when nothing is known of its addresses, else those with the silent ones last.
func lastSilent(addr string, found []string, silent map[string]bool) []string {
	if !slices.ContainsFunc(found, func(a string) bool { return silent[a] }) {
		return []string{addr}
	}
	var good, bad []string
	for _, a := range found {
		if silent[a] {
			bad = append(bad, a)
		} else {
			good = append(good, a)
		}
	}
	return append(good, bad...)
}

func (n *Names) resolver() *net.Resolver {
	if n == nil || n.Resolver == nil {
		return net.DefaultResolver
	}
	return n.Resolver
}
