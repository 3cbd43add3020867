package testservices_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybillmq/waybill/internal/child"
	"github.com/waybillmq/waybill/internal/testservices"
)

// rabbitChannel connects and opens a channel with confirms; it is closed with the test.
func rabbitChannel(t *testing.T, url string, change func(*amqp.Config)) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	cfg := amqp.Config{}
	if change != nil {
		change(&cfg)
	}
	conn, err := amqp.DialConfig(url, cfg)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	must(t, err)
	must(t, ch.Confirm(false))
	return conn, ch
}

func quorumQueue(t *testing.T, ch *amqp.Channel, name string) {
	t.Helper()
	_, err := ch.QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	must(t, err)
}

// confirmed publishes to a queue and waits for the confirm.
func confirmed(t *testing.T, ch *amqp.Channel, queue, body string) bool {
	t.Helper()
	dc, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ok, err := dc.WaitContext(ctx)
	must(t, err)
	return ok
}

func TestSharedRabbitMQ(t *testing.T) {
	r := testservices.RabbitMQ(t)
	if again := testservices.RabbitMQ(t); again != r {
		t.Error("the second caller got another server")
	}
	_, ch := rabbitChannel(t, r.URLs()[0], nil)
	quorumQueue(t, ch, "shared")
	if !confirmed(t, ch, "shared", "hello") {
		t.Error("not confirmed")
	}
	res, err := http.Get(r.Management[0])
	must(t, err)
	must(t, res.Body.Close())
	if res.StatusCode != http.StatusOK {
		t.Errorf("management answers %s", res.Status)
	}
}

func TestRabbitMQUsersAndTLS(t *testing.T) {
	r := testservices.RabbitMQCluster(t, 1, testservices.WithTLS(), testservices.RabbitSetting("max_message_size", "1000"))
	must(t, r.AddVhost("shop"))
	must(t, r.AddUser("clerk", "first", "shop"))
	dial := func(password string) error {
		conn, err := amqp.DialConfig("amqps://"+r.TLSAddrs[0], amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "clerk", Password: password}},
			Vhost: "shop", TLSClientConfig: r.TLS()})
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	must(t, dial("first"))
	must(t, r.ChangePassword("clerk", "second"))
	if err := dial("first"); err == nil {
		t.Error("the old password is taken")
	}
	must(t, dial("second"))
	must(t, r.DeleteUser("clerk"))
	if err := dial("second"); err == nil {
		t.Error("a user who was deleted is let in")
	}
	_, ch := rabbitChannel(t, r.URLs()[0], nil)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	must(t, ch.Publish("", "q", false, false, amqp.Publishing{Body: make([]byte, 1001)}))
	if err := <-closed; err == nil || err.Code != amqp.PreconditionFailed {
		t.Errorf("a message above the limit that was set: %v", err)
	}
}

func TestRabbitMQAlarms(t *testing.T) {
	r := testservices.RabbitMQCluster(t, 1)
	conn, ch := rabbitChannel(t, r.URLs()[0], nil)
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 10))
	quorumQueue(t, ch, "q")
	for word, alarm := range map[string]func(bool) error{"memory": r.MemoryAlarm, "disk": r.DiskAlarm} {
		must(t, alarm(true))
		dc, err := ch.PublishWithDeferredConfirm("", "q", true, false, amqp.Publishing{Body: []byte("x")})
		must(t, err)
		if b := <-blocked; !b.Active || !strings.Contains(b.Reason, word) {
			t.Errorf("%s alarm: %+v", word, b)
		}
		must(t, alarm(false))
		if b := <-blocked; b.Active {
			t.Errorf("end of the %s alarm: %+v", word, b)
		}
		if !dc.Wait() {
			t.Errorf("%s alarm: not confirmed afterwards", word)
		}
	}
}

func TestRabbitMQNodesAreKilledPausedAndStarted(t *testing.T) {
	r := testservices.RabbitMQCluster(t, 3)
	pids := []int{r.PID(1), r.PID(2), r.PID(3)}
	_, ch := rabbitChannel(t, r.URLs()[0], nil)
	quorumQueue(t, ch, "q")
	count := 0
	send := func() {
		t.Helper()
		for range 20 {
			count++
			if !confirmed(t, ch, "q", fmt.Sprint(count)) {
				t.Fatalf("message %d was refused", count)
			}
		}
	}
	send()
	must(t, r.Kill(3))
	if child.Alive(pids[2]) {
		t.Error("the killed node is alive")
	}
	send() // two of three are a majority
	must(t, r.Start(3))
	must(t, r.Pause(2))
	if err := r.Resume(2); err != nil {
		t.Error(err)
	}
	send()
	must(t, r.Stop(2))
	send()
	must(t, r.Start())
	out, err := r.Ctl("list_queues", "name", "messages", "members")
	must(t, err)
	if !strings.Contains(out, fmt.Sprintf("q\t%d", count)) || strings.Count(out, "@localhost") != 3 {
		t.Errorf("%d messages were confirmed; the server says %q", count, out)
	}
	if now := []int{r.PID(1), r.PID(2), r.PID(3)}; now[0] != pids[0] || now[2] == pids[2] || slices.Contains(now, 0) {
		t.Errorf("process ids %v, then %v", pids, now)
	}
	if err := errors.Join(r.Kill(1), r.Pause(1)); err == nil {
		t.Error("a node that is down was paused")
	}
}

func TestRabbitMQKeepsWhatItConfirmed(t *testing.T) {
	r := testservices.RabbitMQCluster(t, 1)
	conn, ch := rabbitChannel(t, r.URLs()[0], nil)
	quorumQueue(t, ch, "q")
	must(t, r.Sync())
	for i := range 3 {
		if !confirmed(t, ch, "q", fmt.Sprint(i)) {
			t.Fatal("not confirmed")
		}
	}
	must(t, r.Kill())
	_ = conn.Close() // it is gone already
	must(t, r.Start())
	conn, ch = rabbitChannel(t, r.URLs()[0], nil)
	var got []string
	for deadline := time.Now().Add(patience); len(got) < 3; {
		d, ok, err := ch.Get("q", true)
		must(t, err)
		if ok {
			got = append(got, string(d.Body))
		} else if time.Now().After(deadline) {
			t.Fatalf("only %q came back", got)
		}
	}
	if !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("%q came back", got)
	}
	must(t, conn.Close())
}
