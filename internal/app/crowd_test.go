package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/outbox"
)

// S11: a thousand clients keep a connection to the dashboard, or try to: some begin a request and never end it, some hold a live page, some read pages without a pause.
// Delivery hardly notices, and who comes later gets a page.
func TestThousandConnectionsToTheDashboard_S11(t *testing.T) {
	const clients, messages = 1000, 60
	w := newWard(t)
	address := strings.TrimPrefix(w.base, "http://")
	slowest := func(what string) time.Duration {
		ids := make([]string, messages)
		after := int64(0)
		if err := w.pool.QueryRow(t.Context(), `SELECT coalesce(max(id), 0) FROM outbox.message_log`).Scan(&after); err != nil {
			t.Fatal(err)
		}
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := range ids {
			<-tick.C
			if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
				_, err := outbox.Publish(t.Context(), tx, outbox.Message{Topic: "order.placed", Key: fmt.Sprint("customer-", i), Payload: []byte(what)})
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		var sent, us int64
		eventually(t, "what was written is sent, "+what, func() bool {
			err := w.pool.QueryRow(t.Context(), `SELECT count(DISTINCT m.id), coalesce(max(extract(epoch FROM r.acked_at - m.created_at) * 1e6), 0)::bigint
				FROM outbox.message_log m CROSS JOIN LATERAL outbox.receipts_of(m.id) r WHERE m.id > $1`, after).Scan(&sent, &us)
			return err == nil && sent == messages
		})
		return time.Duration(us) * time.Microsecond
	}
	alone := slowest("alone")

	ctx, leave := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	defer crowd.Wait()
	defer leave()
	var dialed, answers atomic.Int64
	for i := range clients {
		crowd.Go(func() {
			for ctx.Err() == nil {
				if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
					dialed.Add(1)
					end := context.AfterFunc(ctx, func() { _ = c.Close() })
					visit(c, address, i%3, &answers)
					end()
					_ = c.Close()
				}
				select {
				case <-ctx.Done():
				case <-time.After(200 * time.Millisecond):
				}
			}
		})
	}
	eventually(t, "all have come", func() bool { return dialed.Load() >= 2*clients && answers.Load() > 100 })
	crowded := slowest("in a crowd")
	t.Logf("the slowest of %d messages took %v alone, %v beside %d clients, which dialed %d times and got %d answers", messages, alone, crowded, clients, dialed.Load(), answers.Load())
	if limit := 2*time.Second + 5*alone; crowded > limit {
		t.Errorf("a message took %v beside %d clients", crowded, clients)
	}
	leave()
	crowd.Wait()
	eventually(t, "the next one gets a page", func() bool {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		defer c.Close()
		return read(c, bufio.NewReader(c), address) == nil
	})
}

// visit uses a connection until its end: 0 begins a request and never ends it, 1 holds a live page, 2 reads a page over and over.
func visit(c net.Conn, address string, how int, answers *atomic.Int64) {
	switch how {
	case 0:
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+address+"\r\nX-Slow: ")
		_, _ = io.Copy(io.Discard, c)
	case 1:
		_, _ = io.WriteString(c, "GET /events HTTP/1.1\r\nHost: "+address+"\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	default:
		for in := bufio.NewReader(c); read(c, in, address) == nil; answers.Add(1) {
		}
	}
}

// read asks for the overview and takes the answer.
func read(c net.Conn, in *bufio.Reader, address string) error {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+address+"\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
