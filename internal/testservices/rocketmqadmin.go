package testservices

import (
	"context"
	"crypto/hmac"
	"crypto/sha1" // the broker's scheme, not a choice
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Admin is the account that may do everything on a RocketMQ with WithACL.
var Admin = Account{AccessKey: "waybill-admin", SecretKey: "waybill-admin-secret", Admin: true}

// Account is a line of the master's access list.
type Account struct {
	AccessKey, SecretKey string // more than 6 characters each
	Admin                bool
	Topics               map[string]string // topic → "PUB", "SUB", "PUB|SUB" or "DENY"; others are denied
}

// SetAccounts replaces the access list but for Admin. The broker looks at it every 500 ms.
func (r *Rocket) SetAccounts(accounts ...Account) error {
	var b strings.Builder
	b.WriteString("globalWhiteRemoteAddresses:\naccounts:\n")
	for _, a := range append([]Account{Admin}, accounts...) {
		fmt.Fprintf(&b, "- accessKey: %s\n  secretKey: %s\n  whiteRemoteAddress:\n  admin: %t\n  defaultTopicPerm: DENY\n  defaultGroupPerm: SUB\n", a.AccessKey, a.SecretKey, a.Admin)
		if len(a.Topics) > 0 {
			b.WriteString("  topicPerms:\n")
			for _, topic := range slices.Sorted(maps.Keys(a.Topics)) {
				fmt.Fprintf(&b, "  - %s=%s\n", topic, a.Topics[topic])
			}
		}
	}
	name := filepath.Join(r.parts[Master].home(), "conf", "plain_acl.yml")
	if err := os.WriteFile(name+".new", []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// Codes of requests and answers (RocketMQ, RequestCode and ResponseCode).
const (
	rocketCreateTopic  = 17
	rocketSetConfig    = 25
	rocketRoute        = 105
	rocketDeleteTopic  = 215
	rocketForgetTopic  = 216
	rocketUnknownTopic = 17
)

// CreateTopic makes a topic with that many queues on each master, or changes their number, and returns when every name server that is up knows it.
func (r *Rocket) CreateTopic(name string, queues int) error {
	n := strconv.Itoa(queues)
	masters := r.pick([]Part{Master, Master2})
	for _, p := range masters {
		_, err := r.ask(p.port.address(), rocketCreateTopic, map[string]string{"topic": name, "defaultTopic": "TBW102", "readQueueNums": n, "writeQueueNums": n, "perm": "6",
			"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}, nil)
		if err != nil {
			return fmt.Errorf("create topic %s on the %s: %w", name, p.part, err)
		}
	}
	return r.untilRoute(name, func(code int, body []byte) bool {
		return code == 0 && strings.Count(string(body), `"writeQueueNums":`+n) == len(masters)
	})
}

// DeleteTopic deletes a topic and returns when no name server knows it any more.
func (r *Rocket) DeleteTopic(name string) error {
	if _, err := r.ask(r.Broker, rocketDeleteTopic, map[string]string{"topic": name}, nil); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	for _, addr := range r.NameServers {
		if _, err := r.ask(addr, rocketForgetTopic, map[string]string{"topic": name}, nil); err != nil {
			return fmt.Errorf("delete topic %s: %w", name, err)
		}
	}
	return r.untilRoute(name, func(code int, _ []byte) bool { return code == rocketUnknownTopic })
}

// Set changes settings of the running master.
func (r *Rocket) Set(settings map[string]string) error {
	var b strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&b, "%s=%s\n", name, value)
	}
	_, err := r.ask(r.Broker, rocketSetConfig, nil, []byte(b.String()))
	return err
}

// untilRoute asks every name server that is up and hears of brokers for a topic until the answer is as it should be.
func (r *Rocket) untilRoute(topic string, ok func(code int, body []byte) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, p := range r.pick([]Part{NameServer, NameServer2}) {
		if !p.serving() || r.blind && p.part == NameServer2 {
			continue
		}
		err := until(ctx, func() (bool, error) {
			code, body, err := r.exchange(p.port.address(), rocketRoute, map[string]string{"topic": topic}, nil)
			return err == nil && ok(code, body), nil
		})
		if err != nil {
			return fmt.Errorf("topic %s is not as it should be on %s: %w", topic, p.name, err)
		}
	}
	return nil
}

// ask sends one request and demands success.
func (r *Rocket) ask(addr string, code int, fields map[string]string, body []byte) ([]byte, error) {
	got, answer, err := r.exchange(addr, code, fields, body)
	if err == nil && got != 0 {
		err = fmt.Errorf("%s answers request %d with code %d", addr, code, got)
	}
	return answer, err
}

// exchange sends one request over a connection of its own: length, length of the head, head as JSON, body.
func (r *Rocket) exchange(addr string, code int, fields map[string]string, body []byte) (int, []byte, error) {
	if fields = maps.Clone(fields); fields == nil {
		fields = map[string]string{}
	}
	if r.acl {
		sign(fields, body)
	}
	head, err := json.Marshal(map[string]any{"code": code, "language": "GO", "version": 317, "opaque": 1, "flag": 0, "extFields": fields})
	if err != nil {
		return 0, nil, err
	}
	conn, err := r.dial(addr)
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	frame := binary.BigEndian.AppendUint32(nil, uint32(4+len(head)+len(body)))
	frame = append(append(binary.BigEndian.AppendUint32(frame, uint32(len(head))), head...), body...)
	if _, err := conn.Write(frame); err != nil {
		return 0, nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return 0, nil, err
	}
	answer := make([]byte, min(binary.BigEndian.Uint32(size[:]), 16<<20))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return 0, nil, err
	}
	end := 4 + int(binary.BigEndian.Uint32(answer)&0xffffff)
	var res struct{ Code int }
	err = json.Unmarshal(answer[4:end], &res)
	return res.Code, answer[end:], err
}

// sign adds Admin's signature: HMAC-SHA1 over the values in the order of their names, and the body.
func sign(fields map[string]string, body []byte) {
	fields["AccessKey"] = Admin.AccessKey
	mac := hmac.New(sha1.New, []byte(Admin.SecretKey))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		mac.Write([]byte(fields[name]))
	}
	mac.Write(body)
	fields["Signature"] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
