package testservices

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// Names answers questions for the addresses of hosts as a test says: a DNS server without a network. Its methods may be called from any goroutine.
type Names struct {
	mu    sync.Mutex
	hosts map[string][]net.IP // by lower-case name with its last dot
}

// Set says what a host's addresses are from now on, in this order; none = there is no such host.
func (n *Names) Set(host string, ips ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[string][]net.IP{}
	}
	n.hosts[host+"."] = nil
	for _, ip := range ips {
		n.hosts[host+"."] = append(n.hosts[host+"."], net.ParseIP(ip).To4())
	}
}

// Resolver asks n and nobody else.
func (n *Names) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe() // no packets: each message has its length in front (RFC 1035, 4.2.2)
		go n.serve(server)
		return client, nil
	}}
}

func (n *Names) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, q); err != nil {
			return
		}
		a := n.answer(q)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return
		}
	}
}

// answer makes the answer to a question (RFC 1035, 4.1).
func (n *Names) answer(q []byte) []byte {
	const head, typeA = 12, 1
	name, at := "", head
	for at < len(q) && q[at] != 0 && at+1+int(q[at]) < len(q) {
		name += string(q[at+1:at+1+int(q[at])]) + "."
		at += 1 + int(q[at])
	}
	end := min(at+5, len(q)) // the root label, type and class
	n.mu.Lock()
	ips, known := n.hosts[name]
	n.mu.Unlock()
	if end-at < 5 || binary.BigEndian.Uint16(q[at+1:]) != typeA {
		ips = nil
	}
	a := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, byte(len(ips)), 0, 0, 0, 0}, q[head:end]...)
	if !known {
		a[3] |= 3 // no such name
	}
	for _, ip := range ips {
		a = append(a, 0xc0, head, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4)
		a = append(a, ip...)
	}
	return a
}
