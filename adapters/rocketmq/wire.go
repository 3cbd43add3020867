package rocketmq

import (
	"crypto/hmac"
	"crypto/sha1" // the broker's scheme, not a choice
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Codes of requests (RocketMQ 4.9, RequestCode).
const (
	reqPull         = 11
	reqGroupOffset  = 14 // how far a consumer group has come in a queue
	reqCreateTopic  = 17
	reqBrokerConfig = 26
	reqMaxOffset    = 30
	reqMinOffset    = 31
	reqHeartbeat    = 34
	reqEnd          = 37 // ends a half message: END_TRANSACTION
	reqCheckBack    = 39 // a broker's own: CHECK_TRANSACTION_STATE
	reqRoute        = 105
	reqCluster      = 106
	reqProducers    = 204 // connections of a producer group
	reqAllTopics    = 206
)

// maxAnswer bounds what is read for one answer: a pull brings 256 KiB, or one message of any size that a broker takes.
const maxAnswer = 64 << 20

// command is a request or an answer of the remoting protocol:
//
//	length of what follows (4)   kind of head (1, 0 = JSON)   length of the head (3)   head   body
type command struct {
	Code      int               `json:"code"`
	Language  string            `json:"language"`
	Version   int               `json:"version"`
	Opaque    int32             `json:"opaque"`
	Flag      int32             `json:"flag"`
	Remark    string            `json:"remark,omitempty"`
	ExtFields map[string]string `json:"extFields"`
	body      []byte
}

// errFrame means that an answer is not of the protocol.
var errFrame = errors.New("the answer is not of RocketMQ's remoting protocol")

// credentials sign requests; the zero value signs nothing.
type credentials struct{ access, secret string }

// encode makes the frame of a request.
func (c *command) encode(as credentials) ([]byte, error) {
	fields := maps.Clone(c.ExtFields)
	if fields == nil {
		fields = map[string]string{}
	}
	if as.access != "" {
		as.sign(fields, c.body)
	}
	signed := *c
	signed.ExtFields, signed.Language, signed.Version = fields, "GO", 317
	head, err := json.Marshal(&signed)
	if err != nil {
		return nil, err
	}
	if len(head) > 1<<24-1 {
		return nil, fmt.Errorf("the head of a request has %d bytes; the protocol allows %d", len(head), 1<<24-1)
	}
	frame := make([]byte, 8, 8+len(head)+len(c.body))
	binary.BigEndian.PutUint32(frame, uint32(4+len(head)+len(c.body)))
	binary.BigEndian.PutUint32(frame[4:], uint32(len(head)))
	return append(append(frame, head...), c.body...), nil
}

// sign adds access key and signature: HMAC-SHA1 over the values in the order of their names, and the body (AclUtils of 4.9).
func (as credentials) sign(fields map[string]string, body []byte) {
	fields["AccessKey"] = as.access
	delete(fields, "Signature")
	mac := hmac.New(sha1.New, []byte(as.secret))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		mac.Write([]byte(fields[name]))
	}
	mac.Write(body)
	fields["Signature"] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// readFrame reads one frame, without its length.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxAnswer {
		return nil, errFrame
	}
	frame := make([]byte, n)
	_, err := io.ReadFull(r, frame)
	return frame, err
}

// decode reads a frame. The body lies in frame.
func decode(frame []byte) (*command, error) {
	if len(frame) < 4 || frame[0] != 0 {
		return nil, errFrame
	}
	n := int(binary.BigEndian.Uint32(frame) & 0xffffff)
	if n > len(frame)-4 {
		return nil, errFrame
	}
	var c command
	if err := json.Unmarshal(standardJSON(frame[4:4+n]), &c); err != nil {
		return nil, errFrame
	}
	c.body = frame[4+n:]
	return &c, nil
}

// standardJSON puts quotes around numbers that stand as names, which RocketMQ's JSON has and the standard has not: {0:"127.0.0.1:10911"}. What is no JSON
// stays none.
func standardJSON(b []byte) []byte {
	var out []byte // nil while nothing was changed
	kept := 0
	text, name := false, false // inside a string; where a name may begin
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text:
			if c == '\\' {
				i++
			} else if c == '"' {
				text = false
			}
		case c == '"':
			text, name = true, false
		case c == '{' || c == ',':
			name = true
		case name && (c >= '0' && c <= '9' || c == '-'):
			end := i + 1
			for end < len(b) && b[end] >= '0' && b[end] <= '9' {
				end++
			}
			if end < len(b) && b[end] == ':' {
				out = append(append(append(append(out, b[kept:i]...), '"'), b[i:end]...), '"')
				kept = end
			}
			i, name = end-1, false
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			name = false
		}
	}
	if out == nil {
		return b
	}
	return append(out, b[kept:]...)
}
