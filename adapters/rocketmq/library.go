package rocketmq

import (
	"context"
	"log/slog"
	"os"
	"reflect"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/waybillmq/waybill/relay"
)

// log is where the library's log goes, which is one for the process: that of the newest publisher that has one.
var log atomic.Pointer[slog.Logger]

func init() { log.Store(slog.New(slog.DiscardHandler)) }

// tame takes the library's global state over, once per process: its log goes to ours, a panic in one of its goroutines does not end the relay.
var tame = sync.OnceFunc(func() {
	rlog.SetLogger(bridge{})
	primitive.PanicHandler = func(v any) {
		panics.Add(1)
		log.Load().Error("rocketmq: the client library panicked; its connections are made anew", "panic", v, "stack", string(debug.Stack()))
	}
})

// panics counts those of the library: a client that is older than one may have lost a goroutine, and is replaced.
var panics atomic.Uint64

// bridge is the library's logger. It speaks of every failed try, and we judge those: its levels are lowered. Only fields that can hold neither payload nor
// secrets pass.
type bridge struct{}

func (bridge) Debug(string, map[string]any)              {}
func (bridge) Info(msg string, fields map[string]any)    { say(slog.LevelDebug, msg, fields) }
func (bridge) Warning(msg string, fields map[string]any) { say(slog.LevelDebug, msg, fields) }
func (bridge) Error(msg string, fields map[string]any)   { say(slog.LevelDebug, msg, fields) }
func (bridge) Fatal(msg string, fields map[string]any)   { say(slog.LevelError, msg, fields) } // it must not end the program
func (bridge) Level(string)                              {}
func (bridge) OutputPath(string) error                   { return nil }

func say(level slog.Level, msg string, fields map[string]any) {
	ctx := context.Background()
	to := log.Load()
	if !to.Enabled(ctx, level) {
		return
	}
	var attrs []slog.Attr
	for _, key := range []string{rlog.LogKeyUnderlayError, rlog.LogKeyTopic, rlog.LogKeyBroker, rlog.LogKeyProducerGroup, "brokerName", "brokerAddr", "namesrv", "responseCode"} {
		if v, ok := fields[key]; ok {
			attrs = append(attrs, slog.Any(key, v))
		}
	}
	to.LogAttrs(ctx, level, "rocketmq client: "+msg, attrs...)
}

const (
	// The library gives up on an answer after 3 s, whatever it is told; we give up on the library half a second later.
	libraryWait = 3 * time.Second
	sendWait    = libraryWait + 500*time.Millisecond

	// An idle connection hears from the broker, and from the name server, every 30 s; one that hears nothing for longer is dead.
	libraryRead = 45 * time.Second

	// noSuchTopic keeps the library from treating a topic that nobody knows as one to create.
	noSuchTopic = "waybill_no_such_topic"
)

// instances numbers the library's clients of this process: it keeps them in a table by name.
var instances atomic.Uint64

// sender is what we use of the library's producer.
type sender interface {
	Start() error
	Shutdown() error
	SendSync(ctx context.Context, msgs ...*primitive.Message) (*primitive.SendResult, error)
}

// client is one producer of the library, with its connections and what it knows of routes. A publisher replaces it when its connections are suspect, its
// routes stale or its credentials old; flights that are out finish on the client that they began with.
type client struct {
	sender
	as      credentials
	servers []string // name servers as addresses
	made    time.Time
	panics  uint64
	trust   func() bool

	sends   sync.Map // *primitive.MessageQueue → *flight: who asks the selector
	flights sync.WaitGroup
	ended   chan struct{} // closed when it was shut down
}

// instancePrefix begins the name of each client of a destination.
func instancePrefix(cfg *Config) string { return "waybill-" + cfg.Group + "-" }

// newClient makes and starts a producer. It does no network: the library connects when it is first used.
func newClient(cfg *Config, servers []string, as credentials) (*client, error) {
	tame()
	c := &client{as: as, servers: servers, made: time.Now(), panics: panics.Load(), trust: cfg.Trust, ended: make(chan struct{})}
	name := instancePrefix(cfg) + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(instances.Add(1), 10)
	p, err := producer.NewDefaultProducer(
		producer.WithNsResolver(primitive.NewPassthroughResolver(servers)), producer.WithInstanceName(name), producer.WithGroupName(cfg.Group),
		producer.WithRetry(0), producer.WithQueueSelector(c), producer.WithCreateTopicKey(noSuchTopic),
		producer.WithCompressMsgBodyOverHowmuch(1<<31-1), producer.WithCredentials(primitive.Credentials{AccessKey: as.access, SecretKey: as.secret}),
		timeouts(cfg),
	)
	if err != nil {
		return nil, err
	}
	c.sender = p
	return c, p.Start()
}

// timeouts sets those of the library's sockets: by default a write blocks for 120 s under a lock that other lanes wait for. The option struct cannot be named
// outside the library, but its fields are exported.
func timeouts(cfg *Config) producer.Option {
	option := reflect.MakeFunc(reflect.TypeFor[producer.Option](), func(args []reflect.Value) []reflect.Value {
		field := args[0].Elem().FieldByName("RemotingClientConfig")
		fresh := reflect.New(field.Type().Elem())
		fresh.Elem().Set(field.Elem())
		for name, d := range map[string]time.Duration{"ConnectionTimeout": min(cfg.Connect, libraryWait), "ReadTimeout": libraryRead, "WriteTimeout": cfg.WriteTimeout} {
			fresh.Elem().FieldByName(name).SetInt(int64(d))
		}
		field.Set(fresh)
		return nil
	})
	return option.Interface().(producer.Option)
}

// Select is the library's question for the queue of a batch, asked right before it is written: the last moment at which it can be held back. Nil: not sent.
func (c *client) Select(m *primitive.Message, queues []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	v, ok := c.sends.Load(m.Queue)
	if !ok {
		return nil
	}
	f := v.(*flight)
	for _, q := range queues {
		if q.BrokerName == f.queue.broker && q.QueueId == int(f.queue.id) {
			if c.trust != nil && !c.trust() {
				f.untrusted = true
				return nil
			}
			if !f.state.CompareAndSwap(flightWaits, flightLeaves) {
				return nil
			}
			return q
		}
	}
	return nil
}

// retire shuts the producer down when its last flight is over.
func (c *client) retire() {
	c.flights.Wait()
	_ = c.Shutdown() // it always returns nil
	close(c.ended)
}

// States of a flight.
const (
	flightWaits  = iota // for the library to find the route: nothing was written
	flightLeaves        // it may be written
	flightOff           // given up before it was written: it will not be
)

// flight is one SendSync.
type flight struct {
	queue     queue
	ids       []relay.ID
	state     atomic.Int32
	untrusted bool // by Select, read after done
	answer    answer
	done      chan struct{} // closed when answer is set
}

// launch sends a batch in a goroutine of its own: SendSync obeys no context, and a frozen broker blocks it while it writes. Behind a SEND_OK comes finish, unless it
// is nil; what it returns is the answer then.
func (c *client) launch(topic string, q queue, batch []encoded, ids []relay.ID, finish func(*primitive.SendResult) answer, over func()) *flight {
	f := &flight{queue: q, ids: ids, done: make(chan struct{})}
	mark := &primitive.MessageQueue{Topic: topic, BrokerName: q.broker, QueueId: int(q.id)}
	msgs := make([]*primitive.Message, len(batch))
	for i := range batch {
		msgs[i] = batch[i].message(topic, mark)
	}
	c.sends.Store(mark, f)
	go func() {
		defer over()
		defer close(f.done)
		defer c.sends.Delete(mark)
		defer func() {
			if v := recover(); v != nil {
				primitive.PanicHandler(v)
				f.answer = answer{sig: sigPanic}
			}
		}()
		res, err := c.SendSync(context.Background(), msgs...)
		if f.answer = read(res, err, f.state.Load() == flightLeaves, f.untrusted); f.answer.sig == 0 && finish != nil {
			f.answer = finish(res)
		}
	}()
	return f
}
