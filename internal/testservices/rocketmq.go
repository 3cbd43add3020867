package testservices

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Rocket is RocketMQ: one or two name servers, one or two masters that flush each message to their disks, and perhaps a slave of the first, without which that one
// confirms nothing then. Topics are not created automatically. Its methods may be called from any goroutine, but two that start, end, pause or resume the same part
// not at the same time.
type Rocket struct {
	// NameServers are host:port; they stay the same over restarts, as does Broker.
	NameServers []string
	// Broker is where the master listens. Clients are told this address, unless AdvertisedHost changes the host.
	Broker string

	dir      string
	tools    rocketTools
	settings map[string]string // of the brokers, over what rocketmq.conf says
	slave    bool
	second   bool
	blind    bool // brokers do not know the second name server
	twins    bool
	acl      bool
	roomy    bool
	tlsOnly  bool
	certs    *Certificates // nil without TLSOnly
	host     string        // advertised by the master
	ports    []*port
	parts    map[Part]*rocketPart
}

// Part of a RocketMQ.
type Part string

// The parts. A Rocket has a slave, a second name server or a second master only when an option asked for it.
const (
	NameServer  Part = "name server"
	NameServer2 Part = "second name server"
	Master      Part = "master"
	Slave       Part = "slave"
	Master2     Part = "second master" // the broker b2; its address is not changed by AdvertisedHost
)

// order in which the parts are started; they are stopped in the other direction.
var rocketOrder = []Part{NameServer, NameServer2, Master, Slave, Master2}

// rocketPart is one JVM.
type rocketPart struct {
	daemon
	part Part
	port *port
	ha   *port // brokers
}

// broker says whether it keeps messages.
func (p *rocketPart) broker() bool { return p.part == Master || p.part == Slave || p.part == Master2 }

// RocketOption changes how a RocketMQ runs.
type RocketOption func(*Rocket)

// WithSlave adds a slave: the master is a SYNC_MASTER then, and confirms a message when the slave has it too.
func WithSlave() RocketOption { return func(r *Rocket) { r.slave = true } }

// WithSecondNameServer adds a name server.
func WithSecondNameServer() RocketOption { return func(r *Rocket) { r.second = true } }

// WithBlindNameServer adds a name server with which no broker registers.
func WithBlindNameServer() RocketOption { return func(r *Rocket) { r.second, r.blind = true, true } }

// WithSecondMaster adds a master; topics have queues on both.
func WithSecondMaster() RocketOption { return func(r *Rocket) { r.twins = true } }

// WithACL makes the master ask for signed requests; SetAccounts says whose. Admin may do everything from the start.
func WithACL() RocketOption { return func(r *Rocket) { r.acl = true } }

// AdvertisedHost changes the host under which the name server hands out the master: another loopback address, where a test puts a proxy.
func AdvertisedHost(host string) RocketOption { return func(r *Rocket) { r.host = host } }

// BrokerSetting overrides a line of the brokers' configuration.
func BrokerSetting(name, value string) RocketOption {
	return func(r *Rocket) { r.settings[name] = value }
}

// RoomyRocket gives the master a heap of 2 GiB, large files and all compilers: for figures.
func RoomyRocket() RocketOption { return func(r *Rocket) { r.roomy = true } }

// RocketMQ is the name server with one master that the tests of this process share. Tests choose topic names of their own; whoever kills or pauses it takes
// RocketMQCluster.
func RocketMQ(tb testing.TB) *Rocket {
	tb.Helper()
	process.mu.Lock()
	if process.rocket == nil {
		process.rocket = &shared[*Rocket]{}
	}
	common := process.rocket
	process.mu.Unlock()
	r, err := common.get(func(ctx context.Context) (*Rocket, error) { return NewRocketMQ(ctx) })
	if err != nil {
		tb.Fatalf("RocketMQ cannot be started: %v", err)
	}
	return r
}

// RocketMQCluster starts a RocketMQ for this test alone and ends it with the test. It takes about 5 s, 9 s with a slave, and 200 MiB a broker.
func RocketMQCluster(tb testing.TB, opts ...RocketOption) *Rocket {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	r, err := NewRocketMQ(ctx, opts...)
	if err != nil {
		tb.Fatalf("RocketMQ cannot be started: %v", err)
	}
	closeAtEnd(tb, r)
	return r
}

// NewRocketMQ is RocketMQCluster outside of tests: whoever calls it also calls Close.
func NewRocketMQ(ctx context.Context, opts ...RocketOption) (*Rocket, error) {
	r := &Rocket{settings: map[string]string{}, host: "127.0.0.1", parts: map[Part]*rocketPart{}}
	for _, set := range opts {
		set(r)
	}
	var err error
	if r.tools, err = rocketJars(ctx); err != nil {
		return nil, err
	}
	space, err := processSpace()
	if err != nil {
		return nil, err
	}
	if r.dir, err = space.folder("rocketmq"); err != nil {
		return nil, err
	}
	opened(r)
	rocketUsed.Store(true)
	err = r.layOut(space)
	if err == nil {
		err = r.start(ctx, nil)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// layOut makes the folders and chooses the ports.
func (r *Rocket) layOut(space *space) error {
	for _, part := range rocketOrder {
		if part == Slave && !r.slave || part == NameServer2 && !r.second || part == Master2 && !r.twins {
			continue
		}
		p := &rocketPart{part: part, daemon: daemon{name: "rocketmq " + string(part), dir: filepath.Join(r.dir, strings.ReplaceAll(string(part), " ", "-"))}}
		var errs [2]error
		if p.broker() {
			var ports [3]*port
			ports, errs[0] = space.brokerPorts()
			p.port, p.ha = ports[0], ports[2]
			r.ports = append(r.ports, ports[:]...)
		} else {
			p.port, errs[0] = space.port()
			r.ports = append(r.ports, p.port)
			if p.port != nil {
				r.NameServers = append(r.NameServers, p.port.address())
			}
		}
		errs[1] = os.MkdirAll(p.temporary(), 0o755)
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		r.parts[part] = p
	}
	r.Broker = r.parts[Master].port.address()
	if r.tlsOnly {
		if err := r.writeTLS(); err != nil {
			return err
		}
	}
	return r.writeHomes()
}

// String names it.
func (r *Rocket) String() string { return fmt.Sprintf("RocketMQ on %v", r.NameServers) }

// LogFile is where a part logs.
func (r *Rocket) LogFile(part Part) string { return r.parts[part].log() }

// Store is the folder where a broker keeps its messages.
func (r *Rocket) Store(part Part) string { return filepath.Join(r.parts[part].dir, "store") }

// PID is the process id of a part as it was started last.
func (r *Rocket) PID(part Part) int { return r.parts[part].pid() }

// Advertised is the address of the master that the name server hands out.
func (r *Rocket) Advertised() string {
	return r.host + ":" + strconv.Itoa(r.parts[Master].port.number)
}

// Start starts parts that were stopped or killed, on the same data and ports, and returns when they serve; a master with a slave serves when the slave is
// back. Without a part it starts all that are down.
func (r *Rocket) Start(parts ...Part) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return r.start(ctx, parts)
}

// Stop shuts parts down as an administrator does. Without a part it stops all.
func (r *Rocket) Stop(parts ...Part) error {
	deadline := time.After(30 * time.Second)
	for _, p := range slices.Backward(r.pick(parts)) {
		if err := p.signal(syscall.SIGTERM); err != nil {
			return err
		}
		select {
		case <-p.done():
		case <-deadline:
			return errors.Join(fmt.Errorf("%s did not stop within 30 s", p.name), r.Kill(parts...))
		}
	}
	return nil
}

// Kill ends parts with kill -9 and returns when they are gone. Without a part it kills all.
func (r *Rocket) Kill(parts ...Part) error {
	var errs []error
	picked := r.pick(parts)
	for _, p := range picked {
		errs = append(errs, p.signal(syscall.SIGKILL))
	}
	for _, p := range picked {
		<-p.done()
	}
	return errors.Join(errs...)
}

// Pause stops a part without ending it (SIGSTOP): its sockets stay open and nobody answers.
func (r *Rocket) Pause(part Part) error { return r.parts[part].pause(true) }

// Resume lets a paused part go on.
func (r *Rocket) Resume(part Part) error { return r.parts[part].pause(false) }

// Close ends it and removes its data.
func (r *Rocket) Close() error {
	err := errors.Join(r.Kill(), os.RemoveAll(r.dir))
	for _, p := range r.ports {
		if p != nil {
			p.release()
		}
	}
	closed(r)
	return err
}

// pick chooses parts in the order of start; none chooses all.
func (r *Rocket) pick(parts []Part) (picked []*rocketPart) {
	for _, part := range rocketOrder {
		if p := r.parts[part]; p != nil && (len(parts) == 0 || slices.Contains(parts, part)) {
			picked = append(picked, p)
		}
	}
	return picked
}
