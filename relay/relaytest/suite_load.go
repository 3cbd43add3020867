package relaytest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// loadCases: writers, late commits and rollbacks beside a reader.
var loadCases = map[string]func(*storeCase){
	"R10 A1 A2 nothing is lost, repeated or out of order beside random writers": func(c *storeCase) { beside(c, 97) },
	"R10 the same with tiny pages":                                              func(c *storeCase) { beside(c, 3) },
}

const (
	loadWriters = 6
	loadKeys    = 12
	loadEach    = 60 // transactions of a writer
)

// beside reads, claims and settles while writers commit out of order, roll back, hold snapshots open and write in bulk.
func beside(c *storeCase, rows int) {
	seed := uint64(time.Now().UnixNano())
	c.t.Logf("seed %#x", seed)
	c.own()
	var mu sync.Mutex // guards counts: per key how many were written, and how often in all
	counts, total := map[string]int{}, 0
	var writers sync.WaitGroup
	for w := range loadWriters {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w)))
			for range loadEach {
				tx := c.out.Begin()
				if r.IntN(3) == 0 {
					tx.Touch()
				}
				keys := []string{strconv.Itoa(r.IntN(loadKeys))}
				if r.IntN(6) == 0 { // two keys, always in one order: else two writers could wait for each other
					keys = append(keys, strconv.Itoa(r.IntN(loadKeys)))
					slices.Sort(keys)
					keys = slices.Compact(keys)
				}
				if r.IntN(20) == 0 { // bulk without order
					for range 40 {
						keys = append(keys, "")
					}
				}
				writers := map[string]int{}
				for _, key := range keys {
					tx.Write(relay.Message{Topic: "t", Key: key, Payload: []byte(fmt.Sprintf("%d", w))})
					writers[key]++
				}
				pause(r, 3*time.Millisecond)
				if r.IntN(12) == 0 {
					tx.Rollback()
					continue
				}
				mu.Lock() // counted before it can be read
				for key, n := range writers {
					counts[key] += n
					total += n
				}
				mu.Unlock()
				if err := tx.Commit(); err != nil {
					c.t.Errorf("commit: %v", err)
					return
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { writers.Wait(); close(finished) }()

	got, last, all := map[relay.ID]bool{}, map[string]relay.ID{}, 0
	after, idle, done := relay.ID(0), 0, false
	for idle < 3 {
		page := c.readPage(after, relay.ReadLimit{Rows: rows})
		after = page.After
		if len(page.Messages) == 0 {
			select {
			case <-finished:
				done = true
			case <-time.After(time.Millisecond):
			}
			if done && !page.More {
				idle++
			}
			continue
		}
		idle = 0
		c.fatal(c.store.Claim(c.ctx(), c.lease, page.Messages[len(page.Messages)-1].ID, page.Incarnation), "claim")
		var s relay.Settlement
		for i := range page.Messages {
			m := &page.Messages[i]
			if got[m.ID] {
				c.t.Errorf("message %d was read twice", m.ID)
			}
			if m.Key != "" && m.ID < last[m.Key] {
				c.t.Errorf("message %d of key %s was read behind %d", m.ID, m.Key, last[m.Key])
			}
			got[m.ID], last[m.Key] = true, m.ID
			s.Acked = append(s.Acked, relay.Run{Lo: m.ID, Hi: m.ID})
			all++
		}
		c.settle(s)
	}
	<-finished
	c.equal(all, total, "messages read, of those committed")
	c.equal(len(c.out.Pending()), 0, "pending")
}

// pause lets the others go first for a random while up to most.
func pause(r *rand.Rand, most time.Duration) {
	t := time.NewTimer(time.Duration(r.Int64N(int64(most))))
	defer t.Stop()
	<-t.C
}
