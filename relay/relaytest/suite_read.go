package relaytest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// readCases: pages, holes, the catch-up reader, content.
var readCases = map[string]func(*storeCase){
	"R10 a page is a prefix of what there is, in id order": func(c *storeCase) {
		c.own()
		ids := c.send("a", "b", "a", "c", "a")
		page := c.readPage(0, relay.ReadLimit{Rows: 2})
		c.equal(idsOf(page.Messages), ids[:2], "first page")
		c.equal(page.More, true, "more")
		var got []relay.ID
		for range 10 {
			got = append(got, idsOf(page.Messages)...)
			if len(page.Messages) > 2 {
				c.t.Errorf("a page of %d messages, the limit is 2", len(page.Messages))
			}
			page = c.readPage(page.After, relay.ReadLimit{Rows: 2})
		}
		c.equal(got, ids, "all pages")
		c.equal(page.More, false, "more at the end")
	},
	"R10 a hole is read when it commits (A1)": func(c *storeCase) {
		c.own()
		late := c.out.Begin()
		low := late.Write(relay.Message{Topic: "t", Key: "late", Payload: []byte("x")})
		high := c.send("a")
		got, page := c.readAll(0)
		c.equal(got, high, "before the commit")
		if page.Holes < 1 || page.FirstHole > low || page.FirstHole < 1 {
			c.t.Errorf("open holes %d from %d; id %d is one", page.Holes, page.FirstHole, low)
		}
		for range 5 { // its transaction is open: no number of reads closes the hole
			c.readAll(c.after)
		}
		c.fatal(late.Commit(), "commit")
		got, _ = c.readAll(c.after)
		c.equal(got, []relay.ID{low}, "after the commit")
	},
	"R10 a hole closes once a later snapshot proves it empty": func(c *storeCase) {
		c.own()
		gone := c.out.Begin()
		gone.Write(relay.Message{Topic: "t", Key: "gone", Payload: []byte("x")})
		c.send("a")
		c.readAll(0)
		gone.Rollback()
		c.await("no hole left", func() bool { _, page := c.readAll(c.after); return page.Holes == 0 && page.FirstHole == 0 })
	},
	"R10 a writer that holds xmin delays no message and loses none (A5)": func(c *storeCase) {
		c.own()
		writer := c.out.Begin()
		writer.Touch()
		gone := c.out.Begin()
		gone.Write(relay.Message{Topic: "t", Key: "gone", Payload: []byte("x")})
		late := c.out.Begin()
		low := late.Write(relay.Message{Topic: "t", Key: "late", Payload: []byte("x")})
		ids := c.send("a", "b")
		gone.Rollback()
		got, page := c.readAll(0)
		c.equal(got, ids, "beside the writer")
		if page.Holes == 0 {
			c.t.Error("no hole while a writer is open")
		}
		c.fatal(late.Commit(), "commit")
		got, _ = c.readAll(c.after)
		c.equal(got, []relay.ID{low}, "late commit beside the writer")
		writer.Rollback()
		c.await("no hole left", func() bool { _, page := c.readAll(c.after); return page.Holes == 0 })
	},
	"R10 rows out of holes come lowest first, before newer ones": func(c *storeCase) {
		c.own()
		var open []Transaction
		var low []relay.ID
		for i := range 4 {
			tx := c.out.Begin()
			low = append(low, tx.Write(relay.Message{Topic: "t", Key: fmt.Sprint(i), Payload: []byte("x")}))
			open = append(open, tx)
		}
		c.send("a")
		c.readAll(0)
		for _, i := range []int{2, 0, 3} {
			c.fatal(open[i].Commit(), "commit")
		}
		newer := c.send("b")
		got, _ := c.readAll(c.after)
		c.equal(got, append([]relay.ID{low[0], low[2], low[3]}, newer...), "after the commits")
		c.fatal(open[1].Commit(), "commit")
		got, _ = c.readAll(c.after)
		c.equal(got, low[1:2], "the last hole")
	},
	"reading from 0 gives everything not settled again": func(c *storeCase) {
		c.own()
		c.send("a", "b", "c")
		ids := c.claimAll()
		c.settle(relay.Settlement{Acked: run(ids[1], ids[1])})
		got, _ := c.readAll(0)
		c.equal(got, []relay.ID{ids[0], ids[2]}, "read again")
		got, _ = c.readAll(c.after)
		c.equal(len(got), 0, "read on")
	},
	"the catch-up reader stays below the main one and splits no hole": func(c *storeCase) {
		c.own()
		late := c.out.Begin()
		low := late.Write(relay.Message{Topic: "t", Key: "late", Payload: []byte("x")})
		ids := c.send("a", "b", "c", "d")
		c.claimAll()
		main := c.after
		newer := c.send("e")
		c.fatal(late.Commit(), "commit")
		skipped := ids[2]
		var got []relay.ID
		after := ids[0]
		for range 10 {
			page := c.readPage(after, relay.ReadLimit{Rows: 2, CatchUp: true, Skip: func(id relay.ID) bool { return id == skipped || slices.Contains(got, id) }})
			got = append(got, idsOf(page.Messages)...)
			if after = page.After; after > main {
				c.t.Fatalf("the catch-up reader is at %d, the main one at %d", after, main)
			}
		}
		slices.Sort(got)
		c.equal(got, []relay.ID{low, ids[1], ids[3]}, "catch-up")
		got, _ = c.readAll(main)
		c.equal(got, append([]relay.ID{low}, newer...), "main")
	},
	"L9 content comes unchanged (L1, L4)": func(c *storeCase) {
		c.own()
		due := time.Now().Add(time.Hour).Truncate(time.Microsecond)
		want := []relay.Message{
			{Topic: "plain", Payload: []byte("x")},
			{Topic: "all", Key: "k \u202e\U0001F600", Type: "order.paid", ContentType: "application/json", MessageID: "own-1", Payload: []byte(`{"a":1}`),
				Headers: []relay.Header{{Name: "a", Value: "\r\n\x01"}, {Name: "b", Value: ""}}, DeliverAfter: due},
			{Topic: "null", Key: "k", Tombstone: true},
			{Topic: "empty", Key: "k", Payload: []byte{}},
			{Topic: "bytes", Key: "k", Payload: allBytes()},
			{Topic: "big", Key: "k", Payload: bytes.Repeat([]byte("0123456789abcdef"), 8<<10)},
			{Topic: strings.Repeat("t", 249), Key: strings.Repeat("k", 1024), Payload: []byte("limits")},
		}
		tx := c.out.Begin()
		for i := range want {
			want[i].ID = tx.Write(want[i])
		}
		c.fatal(tx.Commit(), "commit")
		page := c.readPage(0, relay.ReadLimit{InlineBytes: 64 << 10, PageBytes: 8 << 20})
		if len(page.Messages) != len(want) {
			c.t.Fatalf("read %d messages, want %d", len(page.Messages), len(want))
		}
		for i := range want {
			m := &page.Messages[i]
			if big := m.Topic == "big"; big != m.NeedsFetch() {
				c.t.Errorf("%s: NeedsFetch is %v", m.Topic, !big)
			}
			if m.NeedsFetch() {
				fetched, err := c.store.Fetch(c.ctx(), c.lease, []relay.ID{m.ID, want[0].ID})
				c.fatal(err, "fetch")
				if len(fetched) != 2 || fetched[0].ID != m.ID || fetched[1].ID != want[0].ID || string(fetched[1].Payload) != "x" {
					c.t.Fatalf("fetched other messages than asked for, or in another order")
				}
				m = fetched[0]
			}
			c.same(m, &want[i])
		}
		if _, err := c.store.Fetch(c.ctx(), c.lease, []relay.ID{want[6].ID + 1000}); err == nil {
			c.t.Error("fetched a message that does not exist")
		}
	},
	"a page is cut by bytes, never to nothing": func(c *storeCase) {
		c.own()
		tx := c.out.Begin()
		var ids []relay.ID
		for range 6 {
			ids = append(ids, tx.Write(relay.Message{Topic: "t", Payload: bytes.Repeat([]byte("x"), 1000)}))
		}
		c.fatal(tx.Commit(), "commit")
		page := c.readPage(0, relay.ReadLimit{InlineBytes: 1000, PageBytes: 1500})
		c.equal(idsOf(page.Messages), ids[:2], "first page: the message that crosses the limit still comes")
		c.equal(page.More, true, "more")
		got := idsOf(page.Messages)
		for range 5 {
			page = c.readPage(page.After, relay.ReadLimit{InlineBytes: 1000, PageBytes: 1})
			if len(page.Messages) > 1 {
				c.t.Errorf("%d messages of 1,000 bytes in a page of 1 byte", len(page.Messages))
			}
			got = append(got, idsOf(page.Messages)...)
		}
		c.equal(got, ids, "all")
	},
	"P5 a message id is the application's own, else generation and id": func(c *storeCase) {
		c.own()
		tx := c.out.Begin()
		tx.Write(relay.Message{Topic: "t", MessageID: "mine", Payload: []byte("x")})
		id := tx.Write(relay.Message{Topic: "t", Payload: []byte("x")})
		c.fatal(tx.Commit(), "commit")
		page := c.readPage(0, relay.ReadLimit{})
		c.equal(page.Messages[0].MessageID, "mine", "own id")
		c.equal(page.Messages[1].MessageID, c.lease.Generations[0].UUID+"-"+id.String(), "given id")
	},
	"a scheduled message is read like any other (R11)": func(c *storeCase) {
		c.own()
		tx := c.out.Begin()
		id := tx.Write(relay.Message{Topic: "t", Key: "a", Payload: []byte("x"), DeliverAfter: time.Now().Add(time.Hour)})
		c.fatal(tx.Commit(), "commit")
		ids := c.send("a")
		got, _ := c.readAll(0)
		c.equal(got, append([]relay.ID{id}, ids...), "read")
	},
}

func allBytes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func (c *storeCase) same(got, want *relay.Message) {
	c.t.Helper()
	type shape struct {
		ID                                                  relay.ID
		Topic, Key, Type, ContentType, Traceparent, Payload string
		Headers                                             []relay.Header
		Size                                                int
		Tombstone                                           bool
		DeliverAfter                                        int64
	}
	of := func(m *relay.Message) shape {
		s := shape{m.ID, m.Topic, m.Key, m.Type, m.ContentType, m.Traceparent, string(m.Payload), m.Headers, len(m.Payload), m.Tombstone, 0}
		if !m.DeliverAfter.IsZero() {
			s.DeliverAfter = m.DeliverAfter.UnixMicro()
		}
		return s
	}
	g, w := of(got), of(want)
	if g.Size = got.Size; fmt.Sprintf("%+v", g) != fmt.Sprintf("%+v", w) {
		c.t.Errorf("topic %q came changed:\ngot  %.300q\nwant %.300q", want.Topic, fmt.Sprintf("%+v", g), fmt.Sprintf("%+v", w))
	}
	if (got.Payload == nil) != want.Tombstone {
		c.t.Errorf("topic %q: payload nil is %v, tombstone is %v", want.Topic, got.Payload == nil, want.Tombstone)
	}
	if want.MessageID != "" && got.MessageID != want.MessageID {
		c.t.Errorf("topic %q: message id %q, want %q", want.Topic, got.MessageID, want.MessageID)
	}
	if age := time.Since(got.CreatedAt); age < -time.Minute || age > time.Hour {
		c.t.Errorf("topic %q: created %v ago", want.Topic, age)
	}
}
