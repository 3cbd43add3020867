package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/relay"
)

// comparison is one audit while it runs. It belongs to one goroutine.
type comparison struct {
	*audits
	ctx  context.Context
	run  *audit.Run
	pace pacer

	generations []relay.Generation
	produced    []audit.Produced
	rows        map[int64]int // into produced
	sent        map[int64]audit.Place
	lanes       map[auditLane]audit.Span // what receipts name
	read        audit.Read
	stored      []audit.Stored
	bytes       int // read from brokers since the last rest
}

// auditLane is a lane of a destination.
type auditLane struct{ destination, lane string }

func (l auditLane) String() string { return l.destination + " " + l.lane }

// compare reads the three sides in an order in which nothing that is delivered meanwhile looks like a difference: rows, receipts, brokers.
func (c *comparison) compare() (err error) {
	if c.generations, err = c.db.Generations(c.ctx); err != nil {
		return err
	}
	if err := c.readRows(); err != nil {
		return err
	}
	if err := c.readReceipts(); err != nil {
		return err
	}
	c.read = audit.Read{}
	lanes := slices.SortedFunc(maps.Keys(c.lanes), func(a, b auditLane) int { return strings.Compare(a.String(), b.String()) })
	for at := range lanes {
		if at == 0 || lanes[at].destination != lanes[at-1].destination {
			c.readDestination(lanes[at].destination, slices.DeleteFunc(slices.Clone(lanes[at:]), func(l auditLane) bool { return l.destination != lanes[at].destination }))
		}
	}
	if c.work.Err() != nil {
		return c.work.Err()
	}
	c.run.Result = audit.CompareRead(c.produced, c.sent, c.stored, c.read)
	return nil
}

func (c *comparison) readRows() error {
	from, to := relay.ID(c.run.From), relay.ID(c.run.To)
	passed, err := c.db.Passed(c.ctx, from, to)
	if err != nil {
		return err
	}
	c.rows = map[int64]int{}
	most := auditRows
	for after := from - 1; after < to; {
		bytes := 0
		after, err = c.db.Rows(c.ctx, c.generations, after, to, most, func(r *postgres.AuditRow) {
			bytes += r.Size
			c.rows[int64(r.ID)] = len(c.produced)
			c.produced = append(c.produced, c.producedOf(r, passed[r.ID]))
		})
		if err != nil {
			return err
		}
		c.run.Rows = len(c.produced)
		most = auditRowsNext(most, bytes)
		if err := c.rest(bytes); err != nil {
			return err
		}
	}
	return nil
}

// How many rows one statement asks for: it starts low, and goes by the bytes of the ones before, so that large messages do not make it a long one.
const (
	auditRows     = 20
	auditMostRows = 500
	auditBytes    = 2 << 20
)

func auditRowsNext(rows, bytes int) int {
	next := 2 * rows
	if bytes > 0 {
		next = min(next, int(int64(rows)*auditBytes/int64(bytes)))
	}
	return max(1, min(next, auditMostRows))
}

// producedOf is a row as the comparison needs it: its content as it is, and in the form in which its route would send it now.
func (c *comparison) producedOf(r *postgres.AuditRow, passed bool) audit.Produced {
	p := audit.Produced{ID: int64(r.ID), MessageID: r.MessageID, Topic: r.Topic, Key: r.Key, Sum: audit.SumOf(r.Topic, r.Key, r.Payload),
		Unordered: passed || r.Key == "" || !r.DeliverAfter.IsZero(), Waits: r.Waits, Discarded: r.Discarded}
	route := c.router.Find(&r.Message)
	if route == nil {
		return p
	}
	p.Unordered = p.Unordered || route.SkipDead && r.Tried
	if r.Event != nil {
		if wire, err := kafka.Wire(&r.Message); err == nil {
			p.Event = audit.SumOf(r.Topic, wire.Key, wire.Payload)
		}
	}
	return p
}

func (c *comparison) readReceipts() error {
	c.sent, c.lanes = map[int64]audit.Place{}, map[auditLane]audit.Span{}
	var paced error
	err := c.db.Receipts(c.ctx, relay.ID(c.run.From), relay.ID(c.run.To), func(r postgres.AuditReceipt) {
		lane := auditLane{r.Destination, r.Lane}
		for i, id := range r.IDs {
			if _, ours := c.rows[int64(id)]; !ours {
				continue
			}
			at := audit.Place{Lane: lane.String(), Offset: -1}
			if r.Offset >= 0 {
				at.Offset = r.Offset + int64(i)
				span, known := c.lanes[lane]
				if !known {
					span = audit.Span{From: at.Offset, To: at.Offset + 1}
				}
				c.lanes[lane] = audit.Span{From: min(span.From, at.Offset), To: max(span.To, at.Offset+1)}
			} else if _, known := c.lanes[lane]; !known {
				c.lanes[lane] = audit.Span{}
			}
			if known, ok := c.sent[int64(id)]; !ok || known.Offset < 0 { // a place that the broker told proves more than one that it did not
				c.sent[int64(id)] = at
			}
		}
	}, func() { paced = errors.Join(paced, c.rest(0)) })
	return errors.Join(err, paced)
}

// rest waits as long as the bytes that were read last, and the time that they took, ask for.
func (c *comparison) rest(bytes int) error {
	c.progress(c.run.Rows, c.run.Records)
	pause(c.ctx, max(c.slow, c.pace.after(bytes, time.Now())))
	c.pace.at = time.Now()
	return c.ctx.Err()
}

// pacer keeps a reader below a rate, and at work for no more than half of the time.
type pacer struct {
	rate int       // bytes a second
	at   time.Time // when the last rest ended
}

// after is how long to rest after work that ended now.
func (p *pacer) after(bytes int, now time.Time) time.Duration {
	took := now.Sub(p.at)
	return max(took, time.Duration(float64(bytes)/float64(p.rate)*float64(time.Second))-took)
}

// laneReader gives f the records of a span of a lane, and returns what of it lies there to be read.
type laneReader func(ctx context.Context, at relay.Lane, want audit.Span, f func(*storedBack) error) (audit.Span, error)

// readDestination reads back what receipts name there. What cannot be read is said in a note, and not judged.
func (c *comparison) readDestination(name string, lanes []auditLane) {
	read, end, err := c.reader(name)
	if err != nil {
		c.note("%s: %s", name, err)
		return
	}
	defer end()
	for _, lane := range lanes {
		at, err := parseLane(lane.lane)
		label := lane.String()
		if err == nil {
			var span audit.Span
			span, err = read(c.ctx, at, c.lanes[lane], func(r *storedBack) error { return c.take(label, r) })
			if err != nil {
				span.To-- // the last one may not have been taken
			}
			if span.From < span.To {
				c.read[label] = span
			}
		}
		switch {
		case c.work.Err() != nil:
			return
		case c.ctx.Err() != nil:
			c.note("the time of %s was over at %s: what follows is not judged", auditLimit, lane)
			return
		case err != nil:
			c.note("%s: %s", lane, err)
		}
	}
}

const maxNotes = 20

func (c *comparison) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(c.run.Notes) < maxNotes && !slices.Contains(c.run.Notes, text) {
		c.run.Notes = append(c.run.Notes, text)
	}
}

// storedBack is a record that was read back.
type storedBack struct {
	offset     int64
	key, value []byte
	header     func(string) (string, bool)
}

var errTooManyCopies = errors.New("there are more copies than an audit takes: what follows is not judged")

// What a reader of a broker takes before it rests.
const (
	auditChunk      = 1000 // records
	auditChunkBytes = 1 << 20
)

// take keeps a record that says to be one of this outbox's ids; others may write to the same topic, and other ids lie in between.
func (c *comparison) take(lane string, r *storedBack) error {
	c.run.Records++
	if c.bytes += len(r.key) + len(r.value); c.bytes >= auditChunkBytes || c.run.Records%auditChunk == 0 {
		bytes := c.bytes
		c.bytes = 0
		if err := c.rest(bytes); err != nil {
			return err
		}
	}
	text, _ := r.header("waybill-seq")
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < c.run.From || id > c.run.To {
		return nil
	}
	messageID, _ := r.header("waybill-id")
	row, there := c.rows[id]
	ours := there && c.produced[row].MessageID == messageID
	if !ours && !c.drawn(messageID, id) {
		return nil // of another outbox, or of nobody
	}
	if len(c.stored) > 2*len(c.produced)+auditChunk {
		return errTooManyCopies
	}
	s := audit.Stored{At: audit.Place{Lane: lane, Offset: r.offset}, ID: id, MessageID: printable(messageID)}
	if ours {
		p := &c.produced[row]
		s.MessageID, s.Sum = p.MessageID, audit.SumOf(p.Topic, string(r.key), r.value)
	}
	c.stored = append(c.stored, s)
	return nil
}

// drawn says that a message id is one that this outbox gives to a message without an id of its own.
func (c *comparison) drawn(messageID string, id int64) bool {
	uuid, ok := strings.CutSuffix(messageID, "-"+strconv.FormatInt(id, 10))
	return ok && slices.ContainsFunc(c.generations, func(g relay.Generation) bool { return g.UUID == uuid })
}

// printable is what may be written down of a header that anybody could have written.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), 100)], "")
}
