package rocketmq

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/waybillmq/waybill/relay"
)

const (
	halfGroup = "_half" // ends the producer group that the broker asks about halves: the library's own producers are in the group before it, and read no question

	// halfSpare is what a broker adds to the properties of a half: TRAN_MSG, REAL_TOPIC, REAL_QID, and TRANSACTION_CHECK_TIMES when it asks. One that fits only
	// without the last stops the broker's questions about all halves: it stores the half anew before it asks, again and again (4.9.7).
	halfSpare = 256

	commitWait = 3 * time.Second  // connecting, and then the answer to a commit
	linkIdle   = 30 * time.Second // a broker closes a connection that says nothing for 120 s
)

// verdict is what becomes of a half: the values of END_TRANSACTION (MessageSysFlag of 4.9).
type verdict int

const (
	undecided verdict = 0
	commit    verdict = 2 << 2
	rollback  verdict = 3 << 2
)

// judge decides about half number n of a message from its receipts. Without one the relay has it still to send, or an answer is on its way: the half waits. A
// receipt of this very half means that it was committed, so the broker has lost that if it still asks: the final message may be gone too. A receipt of another
// copy makes this one a repeat.
func judge(n int64, receipts []relay.Position) verdict {
	switch {
	case len(receipts) == 0:
		return undecided
	case slices.Contains(receipts, relay.Position{Offset: n, HasOffset: true}):
		return commit
	}
	return rollback
}

// asHalf makes a half message of an encoded one. The number tells it from other halves of its message: its place does not, because the broker moves it before it
// asks about it.
func (e *encoded) asHalf(group string, number int64) {
	e.half, e.number = true, number
	e.properties += string(valueEnds) + primitive.PropertyProducerGroup + string(nameEnds) + group +
		string(valueEnds) + propHalf + string(nameEnds) + strconv.FormatInt(number, 10)
}

// unique is the UNIQ_KEY.
func (e *encoded) unique() string {
	text, _, _ := strings.Cut(e.properties, string(valueEnds))
	return text
}

// tooLarge says why a half cannot be sent that would pass as an ordinary message, or nothing.
func (e *encoded) tooLarge(limit, cluster int) string {
	if n, most := len(propUnique)+2+len(e.properties), maxProperties-clusterSpare-cluster-halfSpare; n > most {
		return fmt.Sprintf("key, type and headers take %d bytes as properties; a half message may have %d", n, most)
	}
	if n := e.size() + 2*halfSpare; n > limit { // with its head, and the names of both topics
		return fmt.Sprintf("as a half message it takes up to %d bytes; maxMessageSize of the broker is %d", n, limit)
	}
	return ""
}

// half is what END_TRANSACTION must say to end one.
type half struct {
	group       string
	unique      string // UNIQ_KEY
	queueOffset int64  // in the broker's topic of halves
	logOffset   int64
	checked     bool // the broker asked
}

func (h half) fields(v verdict) map[string]string {
	return map[string]string{"producerGroup": h.group, "tranStateTableOffset": strconv.FormatInt(h.queueOffset, 10), "commitLogOffset": strconv.FormatInt(h.logOffset, 10),
		"commitOrRollback": strconv.Itoa(int(v)), "fromTransactionCheck": strconv.FormatBool(h.checked), "msgId": h.unique, "transactionId": h.unique}
}

// logOffset reads the place in the commit log from an offset message id: address and port, then 8 bytes, all in hex.
func logOffset(id string) (int64, bool) {
	if len(id) < 32 {
		return 0, false
	}
	b, err := hex.DecodeString(id[len(id)-16:])
	if err != nil {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b)), true
}

// committer is the connection of a lane over which it commits. It belongs to the one Publish or flight of the lane that runs.
type committer struct {
	link *link
	used time.Time
}

func (c *committer) close() {
	if c.link != nil {
		c.link.Close()
		c.link = nil
	}
}

// prepare makes a connection to commit the next half over: without one it is not sent.
func (l *lane) prepare(ctx context.Context) answer {
	if l.commits.link != nil && time.Since(l.commits.used) > linkIdle {
		l.commits.close()
	}
	if l.commits.link == nil {
		ctx, cancel := context.WithTimeout(ctx, commitWait)
		defer cancel()
		r, _, err := l.p.find(ctx, l.at.Topic)
		if err == nil && (r == nil || r.master(l.queue.broker) == "") {
			return answer{sig: sigNoRoute}
		}
		if err == nil {
			l.commits.link, err = l.p.probe.dial(ctx, r.master(l.queue.broker))
		}
		var login *loginError
		if errors.As(err, &login) {
			return answer{sig: sigNoLogin, detail: reason(err)}
		} else if err != nil {
			return answer{sig: sigDial, detail: reason(err)}
		}
	}
	return answer{}
}

// commit commits the half that SEND_OK was the answer for. It runs in the flight of the half.
func (l *lane) commit(res *primitive.SendResult, e encoded) answer {
	at, ok := logOffset(res.OffsetMsgID)
	if !ok {
		return answer{sig: sigCommit, detail: "the broker did not say where the half lies"}
	}
	if trust := l.p.cfg.Trust; trust != nil && !trust() {
		return answer{sig: sigCommit, detail: "the lease is no longer trusted, so the commit was not sent"}
	}
	ctx, cancel := context.WithTimeout(l.p.calls.Context(), commitWait)
	defer cancel()
	h := half{group: l.p.halves(), unique: e.unique(), queueOffset: res.QueueOffset, logOffset: at}
	_, err := l.commits.link.ask(ctx, reqEnd, h.fields(commit), nil)
	if err == nil {
		l.commits.used = time.Now()
		return answer{offset: e.number}
	}
	l.commits.close()
	var no *answerError
	if errors.As(err, &no) {
		return answer{sig: sigCommit, detail: aclError(no.code, no.remark).words()}
	}
	return answer{sig: sigCommit, detail: reason(err)}
}

// words are the answer without its rule's text.
func (a answer) words() string {
	if a.detail == "" {
		return a.sig.name()
	}
	return a.sig.name() + ": " + a.detail
}

// hangUp closes the connections for commits, once nothing runs.
func (p *Publisher) hangUp() {
	pins := p.pins.Load()
	if pins == nil {
		return
	}
	for _, t := range *pins {
		for _, l := range t.lanes {
			l.commits.close()
		}
	}
}

// halves is the producer group of the half messages: it stays the same from owner to owner, so that the next one is asked about the halves of the last.
func (p *Publisher) halves() string { return p.cfg.Group + halfGroup }
