package rocketmq

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// maxQuestions bounds the halves that a broker asks about and that wait for their answer. It asks again about the others.
const maxQuestions = 10_000

// questions are those of one broker that are not answered, the newest about each half. One goroutine adds, another takes; the methods may be called from any.
type questions struct {
	some chan struct{} // has a value while there may be one

	mu    sync.Mutex // guards the rest
	order []subject
	last  map[subject]question
}

func newQuestions() *questions {
	return &questions{some: make(chan struct{}, 1), last: map[subject]question{}}
}

// add takes a question in. One about a half that was asked about before takes its turn.
func (a *questions) add(q question, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q.at = now
	if _, known := a.last[q.subject()]; !known {
		if len(a.order) >= maxQuestions {
			return
		}
		a.order = append(a.order, q.subject())
	}
	a.last[q.subject()] = q
	a.signal()
}

func (a *questions) signal() {
	select {
	case a.some <- struct{}{}:
	default:
	}
}

// next takes the first one out.
func (a *questions) next() (q question, any bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.order) == 0 {
		return q, false
	}
	q = a.last[a.order[0]]
	delete(a.last, a.order[0])
	if a.order = slices.Delete(a.order, 0, 1); len(a.order) > 0 {
		a.signal()
	}
	return q, true
}

// again says whether the broker has asked about the same half once more.
func (a *questions) again(q question) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.last[q.subject()]
	return known
}

// question is a broker's about one half.
type question struct {
	half      half
	id        relay.ID
	messageID string
	number    int64
	at        time.Time // when it came
}

// subject names the half: it stays the same however often a broker stores it anew.
type subject struct{ id, number int64 }

func (q *question) subject() subject { return subject{int64(q.id), q.number} }

// readQuestion reads CHECK_TRANSACTION_STATE: the head names the place of the half now, the body is the message.
func readQuestion(c *command) (q question, err error) {
	q.half = half{unique: c.ExtFields["msgId"], checked: true}
	for name, to := range map[string]*int64{"tranStateTableOffset": &q.half.queueOffset, "commitLogOffset": &q.half.logOffset} {
		if *to, err = strconv.ParseInt(c.ExtFields[name], 10, 64); err != nil {
			return q, errFrame
		}
	}
	n := 0
	err = decodeStored(c.body, func(r Record) error {
		n++
		m, err := r.Message("")
		if err != nil {
			return err
		}
		text, _ := r.Property(propHalf)
		q.id, q.messageID = m.ID, m.MessageID
		q.number, err = strconv.ParseInt(text, 10, 64)
		return err
	})
	if err == nil && (n != 1 || q.id == 0 || q.messageID == "") {
		err = fmt.Errorf("%w, or without %s", errStored, record.HeaderSeq)
	}
	return q, err
}
