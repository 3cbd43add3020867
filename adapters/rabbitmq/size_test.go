package rabbitmq

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/internal/testservices/tcpproxy"
	"github.com/waybillmq/waybill/relay"
)

// TestLargest: for each limit of a small server, whatever was found before.
func TestLargest(t *testing.T) {
	const most = 40
	for server := range most + 5 {
		for known := range most + 1 {
			asked := map[int]bool{}
			got, err := largest(known, most, func(n int) (bool, error) {
				if asked[n] {
					t.Errorf("server %d, known %d: %d is asked for twice", server, known, n)
				}
				asked[n] = true
				return n <= server, nil
			})
			if want := min(server, most); err != nil || got != want {
				t.Errorf("server %d, known %d: %d, %v", server, known, got, err)
			}
			if len(asked) > 2 && server >= most && known == 0 || len(asked) > 10 {
				t.Errorf("server %d, known %d: %d questions", server, known, len(asked))
			}
		}
	}
}

// TestLargestWithoutAnswer: an answer that does not come leaves what was certainly refused, and a refusal of nothing at all is not one for its size.
func TestLargestWithoutAnswer(t *testing.T) {
	const most, server = 1000, 300
	for questions := range 10 {
		left := questions
		got, err := largest(0, most, func(n int) (bool, error) {
			if left == 0 {
				return false, errNoAnswer
			}
			left--
			return n <= server, nil
		})
		if !errors.Is(err, errNoAnswer) || got < server || got > most || questions >= 2 && got == most {
			t.Errorf("after %d answers: %d, %v", questions, got, err)
		}
	}
	if got, err := largest(0, most, func(int) (bool, error) { return false, nil }); err == nil || got != most {
		t.Errorf("%d, %v", got, err)
	}
}

// TestSizeOverASlowLink: a payload that takes too long is given up, said to be so, and not sent again by the next Check.
func TestSizeOverASlowLink(t *testing.T) {
	r := testservices.RabbitMQ(t)
	b := newBroker(t, r.Addrs)
	p := b.via(nil)
	t.Cleanup(func() { _ = p.Close(within(t, patience)) })
	large := b.proxy.Passed(10_000)
	var held sync.WaitGroup
	held.Go(func() { <-large; b.proxy.Hold(tcpproxy.Request) })
	for _, most := range []time.Duration{sizeWait + 3*time.Second, sizeWait - time.Second} {
		begun := time.Now()
		f := check(t, p)
		if took := time.Since(begun); took > most {
			t.Errorf("it took %v", took)
		}
		wantLevel(t, f, "rabbitmq.max_message_size", r.Addrs[0], relay.LevelUnseen)
		if f.Limit != p.cfg.MaxMessageBytes || !strings.Contains(f.Items[len(f.Items)-1].Text, errSlow.Error()) {
			t.Errorf("limit %d, %+v", f.Limit, f.Items)
		}
		held.Wait()
		b.proxy.Release(tcpproxy.Request)
	}
}

// TestAlarmWhileASizeIsTried: an alarm that comes while the payload is on its way is called one, and the size is tried again afterwards.
func TestAlarmWhileASizeIsTried(t *testing.T) {
	r := testservices.RabbitMQ(t)
	b := newBroker(t, r.Addrs)
	p := b.via(nil)
	t.Cleanup(func() { _ = p.Close(within(t, patience)) })
	large := b.proxy.Passed(10_000)
	var alarmed sync.WaitGroup
	alarmed.Go(func() {
		<-large
		b.proxy.Hold(tcpproxy.Request)
		if err := r.MemoryAlarm(true); err != nil {
			t.Error(err)
		}
		b.proxy.Release(tcpproxy.Request)
	})
	f := check(t, p)
	alarmed.Wait()
	if err := r.MemoryAlarm(false); err != nil {
		t.Fatal(err)
	}
	wantLevel(t, f, "rabbitmq.max_message_size", r.Addrs[0], relay.LevelUnseen)
	if text := f.Items[len(f.Items)-1].Text; !strings.Contains(text, errAlarm.Error()) {
		t.Errorf("it says %q", text)
	}
	wantLevel(t, check(t, p), "rabbitmq.max_message_size", r.Addrs[0], relay.LevelOK)
}

// sizeIsFound: the server's own limit, to the byte, and when it changes hands: what is found once is not asked for again before a message is refused.
func sizeIsFound(t *testing.T, r *testservices.Rabbit) {
	topic := newName(t)
	makeTopic(t, r.Addrs, topic, "classic", nil)
	level := func(f relay.Findings, level relay.Level) relay.Finding {
		t.Helper()
		for _, x := range f.Items {
			if x.ID == "rabbitmq.max_message_size" {
				if x.Level != level {
					t.Errorf("%+v, want %s", x, level)
				}
				return x
			}
		}
		t.Fatal("nothing is said of the size")
		return relay.Finding{}
	}
	for _, c := range []struct {
		most, want int
		level      relay.Level
	}{{serverLimit - 1, serverLimit - 1, relay.LevelOK}, {serverLimit, serverLimit, relay.LevelOK}, {serverLimit + 1, serverLimit, relay.LevelWarn}, {1 << 20, serverLimit, relay.LevelWarn}} {
		p := open(t, r.Addrs, func(cfg *Config) { cfg.MaxMessageBytes, cfg.Exchanges, cfg.Channels = c.most, []string{topic}, 1 })
		f := check(t, p)
		level(f, c.level)
		if f.Limit != c.want || f.Limits[topic] != c.want {
			t.Errorf("max_message_bytes %d: limits %d and %d, want %d", c.most, f.Limit, f.Limits[topic], c.want)
		}
		again := check(t, p)
		if level(again, c.level); again.Limit != c.want {
			t.Errorf("asked again: %d", again.Limit)
		}
		m := ids(topic, "k", 1)
		m[0].Payload = make([]byte, c.want)
		want(t, publish(t, p, m), "acked 1") // nothing is wrong with what is found
	}
	wantStored(t, r.Addrs, topic, 1, 1, 1, 1) // and what was tried is nowhere

	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.AddUser("narrow", "pass", "/"))
	must(r.Grant("narrow", "/", "", topic, ".*"))
	narrow := newPublisher(t, r.Addrs, func(cfg *Config) {
		cfg.Login = func() (string, string, error) { return "narrow", "pass", nil }
		cfg.Exchanges = []string{topic}
	})
	f := check(t, narrow)
	if x := level(f, relay.LevelUnseen); !strings.Contains(x.Fix, "amq.default") || f.Limit != narrow.cfg.MaxMessageBytes {
		t.Errorf("%+v, limit %d", x, f.Limit)
	}
	starved := newPublisher(t, r.Addrs, nil)
	must(r.MemoryAlarm(true))
	f = check(t, starved)
	must(r.MemoryAlarm(false))
	if x := level(f, relay.LevelUnseen); !strings.Contains(x.Text, fmt.Sprint(errAlarm)) || !strings.Contains(x.Fix, "alarm") {
		t.Errorf("%+v", x)
	}
}
