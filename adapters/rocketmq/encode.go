package rocketmq

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/waybillmq/waybill/adapters/internal/cloudevents"
	"github.com/waybillmq/waybill/adapters/internal/record"
	"github.com/waybillmq/waybill/relay"
)

// Properties that RocketMQ gives a meaning, which is ours too.
const (
	propUnique   = primitive.PropertyUniqueClientMessageIdKeyIndex
	propKeys     = primitive.PropertyKeys
	propTags     = primitive.PropertyTags
	propSharding = primitive.PropertyShardingKey

	propTombstone = "waybill-tombstone"
	propHalf      = "waybill-half" // number of a half message; its receipt has it as offset

	headerPrefix = "h-" // before a header's name that would steer RocketMQ

	eventPrefix = "CE_" // of a CloudEvent's attributes in binary mode (draft of a CloudEvents binding for RocketMQ)
)

// Separators of the property text: name 0x01 value 0x02.
const (
	separators = "\x01\x02"
	nameEnds   = '\x01'
	valueEnds  = '\x02'
)

const (
	maxProperties = 32_767 // bytes: a Java short
	clusterSpare  = 16     // the broker adds CLUSTER and the name of its cluster

	maxFrame = 16<<20 - 64<<10 // a broker cuts the connection above 16 MiB, whatever its maxMessageSize says
)

// reserved are properties that steer RocketMQ (MessageConst of 4.9 and 5), and two of ours: a header of that name would delay, hide or redirect its message.
var reserved = func() map[string]bool {
	names := map[string]bool{}
	for _, n := range strings.Fields(`KEYS TAGS WAIT DELAY RETRY_TOPIC REAL_TOPIC REAL_QID TRAN_MSG PGROUP MIN_OFFSET MAX_OFFSET BUYER_ID ORIGIN_MESSAGE_ID TRANSFER_FLAG
		CORRECTION_FLAG MQ2_FLAG RECONSUME_TIME MSG_REGION TRACE_ON UNIQ_KEY EXTEND_UNIQ_INFO MAX_RECONSUME_TIMES CONSUME_START_TIME
		TRAN_PREPARED_QUEUE_OFFSET TRANSACTION_CHECK_TIMES CHECK_IMMUNITY_TIME_IN_SECONDS SHARDING_KEY __transactionId__ CORRELATION_ID REPLY_TO_CLIENT TTL
		ARRIVE_TIME PUSH_REPLY_TIME MSG_TYPE CLUSTER INSTANCE_ID POP_CK POP_CK_OFFSET 1ST_POP_TIME INNER_MULTI_DISPATCH INNER_MULTI_QUEUE_OFFSET INNER_NUM INNER_BASE
		DUP_INFO TIMER_DELIVER_MS TIMER_DELAY_MS TIMER_DELAY_SEC TIMER_OUT_MS TIMER_ENQUEUE_MS TIMER_DEQUEUE_MS TIMER_ROLL_TIMES TIMER_DEL_UNIQKEY
		TIMER_DEL_FLAG DLQ_ORIGIN_TOPIC DLQ_ORIGIN_MESSAGE_ID DLQ_ORIGIN_QUEUE_ID BORN_HOST BORN_TIMESTAMP __SHARDINGKEY __CRC32#`) {
		names[n] = true
	}
	names[propTombstone], names[propHalf] = true, true
	return names
}()

// steers says whether a name is reserved behind any number of our prefixes.
func steers(name string) bool {
	for strings.HasPrefix(name, headerPrefix) {
		name = name[len(headerPrefix):]
	}
	return reserved[name]
}

// carried is the property that carries a header: h-DELAY for DELAY, and h-h-DELAY for h-DELAY, so that each has one of its own. header is the way back; of a
// reserved property it makes nothing.
func carried(name string) string {
	if steers(name) {
		return headerPrefix + name
	}
	return name
}

func header(property string) (name string, ok bool) {
	if steers(property) {
		return strings.CutPrefix(property, headerPrefix)
	}
	return property, true
}

// properties calls f for each property of a message, in an order that is the same in every copy. Empty values are left out: RocketMQ knows none.
func properties(m *relay.Message, f func(name, value string)) {
	sum := sha256.Sum256([]byte(m.MessageID))
	f(propUnique, hex.EncodeToString(sum[:16]))
	f(propKeys, m.MessageID)
	f(record.HeaderID, m.MessageID)
	f(record.HeaderSeq, strconv.FormatInt(int64(m.ID), 10))
	f(propSharding, m.Key)
	if fitsTag(m.Type) {
		f(propTags, m.Type)
	} else {
		f(record.HeaderType, m.Type)
	}
	f(record.HeaderContentType, m.ContentType)
	f(record.HeaderTime, m.CreatedAt.UTC().Format("2006-01-02T15:04:05.000000Z"))
	for i := range m.Headers {
		f(carried(m.Headers[i].Name), m.Headers[i].Value)
	}
	f(record.HeaderTraceparent, m.Traceparent)
	f(record.HeaderTracestate, m.Tracestate)
	if m.Tombstone {
		f(propTombstone, "1")
	}
}

// fitsTag says whether a type can be a tag: consumers split tag expressions at blanks and bars.
func fitsTag(s string) bool { return !strings.ContainsAny(s, " \t\r\n|") }

// encoded is a message as it is sent.
type encoded struct {
	properties string // what follows "UNIQ_KEY 0x01", without the last separator
	body       []byte
	half       bool
	number     int64 // of a half
}

// size is what the message takes in a batch (MessageDecoder.encodeMessage).
func (e *encoded) size() int {
	return 22 + len(e.body) + len(propUnique) + 2 + len(e.properties)
}

// encode makes what is sent of a message, or says why RocketMQ cannot carry it. cluster is the length of the cluster's name.
func encode(m *relay.Message, way Tombstone, cluster int) (e encoded, class, why string) {
	m, err := cloudevents.Message(m, eventPrefix)
	if err != nil {
		return e, relay.ClassInvalid, err.Error()
	}
	e.body = m.Payload
	if m.Tombstone {
		if way != TombstoneByte {
			return e, relay.ClassInvalid, "the payload is NULL, which RocketMQ does not know; set tombstone: byte, or write an empty payload"
		}
		e.body = []byte{0}
	}
	var b strings.Builder
	properties(m, func(name, value string) {
		switch {
		case value == "" || class != "":
		case name == "" || strings.ContainsAny(name, separators) || strings.ContainsAny(value, separators):
			class, why = relay.ClassInvalid, "the property "+printable(name)+" has no name, or holds the byte 0x01 or 0x02, which RocketMQ uses as separators"
		case b.Len() == 0: // UNIQ_KEY: the library writes the name
			b.WriteString(value)
		default:
			b.WriteByte(valueEnds)
			b.WriteString(name)
			b.WriteByte(nameEnds)
			b.WriteString(value)
		}
	})
	e.properties = b.String()
	if class != "" {
		return e, class, why
	}
	if n, most := len(propUnique)+2+b.Len(), maxProperties-clusterSpare-cluster; n > most {
		return e, relay.ClassTooLarge, fmt.Sprintf("key, type and headers take %d bytes as properties; RocketMQ allows %d", n, most)
	}
	if e.size() > maxFrame {
		return e, relay.ClassTooLarge, fmt.Sprintf("the message has %d bytes; RocketMQ's protocol allows %d", e.size(), maxFrame)
	}
	return e, "", ""
}

// printable is a name for an error text.
func printable(name string) string { return strconv.Quote(fmt.Sprintf("%.60s", name)) }

// message makes what the library sends. The library writes properties from a map, in a random order: it is given one, whose value is the text of them all.
func (e *encoded) message(topic string, q *primitive.MessageQueue) *primitive.Message {
	m := primitive.NewMessage(topic, e.body)
	m.WithProperty(propUnique, e.properties)
	if e.half {
		m.WithProperty(primitive.PropertyTransactionPrepared, "true") // on its own, because the library looks for it
	}
	m.Queue = q
	return m
}

// parseProperties gives f each property of a stored text.
func parseProperties(text string, f func(name, value string)) {
	for item := range strings.SplitSeq(text, string(valueEnds)) {
		if name, value, ok := strings.Cut(item, string(nameEnds)); ok {
			f(name, value)
		}
	}
}
