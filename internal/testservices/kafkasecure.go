package testservices

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Security is what a cluster has besides its plain listener, which stays as it is and whose clients may do everything.
type Security struct {
	*Certificates

	// Addresses of the nodes, node 1 first, by how they are to be spoken to.
	SASL    []string // TLS and a login: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
	Brief   []string // SCRAM-SHA-512 without TLS, and a session ends after BriefSession
	TLS     []string // TLS without login; a client certificate is looked at when there is one. The servers' own expires after SoonExpires
	Expired []string // TLS with a certificate that has expired

	// The user of PLAIN. It is part of the nodes' files and stays; SCRAM has the users of SetUser.
	PlainUser, PlainPassword string

	ports [][]*port // by listener
}

// BriefSession is how long a login holds on the listener Brief.
const BriefSession = "2000" // ms

// Secure gives every node the listeners of Security, and an authorizer that allows what no rule of Revoke forbids.
func Secure() ClusterOption {
	return func(c *Cluster) {
		c.secure = &Security{PlainUser: "outbox", PlainPassword: rand.Text(), ports: make([][]*port, len(secureListeners))}
	}
}

// Secure is what a cluster made with the option Secure has; nil without.
func (c *Cluster) Secure() *Security { return c.secure }

// secureListeners in the order of Security.ports.
var secureListeners = []struct{ name, protocol string }{
	{"SASLTLS", "SASL_SSL"}, {"BRIEF", "SASL_PLAINTEXT"}, {"ONLYTLS", "SSL"}, {"EXPIRED", "SSL"},
}

// prepare takes the ports of a node.
func (s *Security) prepare(space *space) error {
	lists := []*[]string{&s.SASL, &s.Brief, &s.TLS, &s.Expired}
	for i, list := range lists {
		p, err := space.port()
		if err != nil {
			return err
		}
		s.ports[i] = append(s.ports[i], p)
		*list = append(*list, p.address())
	}
	return nil
}

func (s *Security) release() {
	for _, listener := range s.ports {
		for _, p := range listener {
			p.release()
		}
	}
}

// properties are the lines that a node's file ends with: in such a file the last one of a name counts.
func (s *Security) properties(n *node) (string, error) {
	if s.Certificates == nil {
		made, err := NewCertificates()
		if err != nil {
			return "", err
		}
		s.Certificates = made
	}
	var b strings.Builder
	listeners := []string{"PLAINTEXT://" + n.client.address()}
	protocols := []string{"PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"}
	for i, l := range secureListeners {
		listeners = append(listeners, l.name+"://"+s.ports[i][n.number-1].address())
		protocols = append(protocols, l.name+":"+l.protocol)
	}
	fmt.Fprintf(&b, "\nlisteners=%s,CONTROLLER://%s\nadvertised.listeners=%s\nlistener.security.protocol.map=%s\n", strings.Join(listeners, ","),
		n.controller.address(), strings.Join(listeners, ","), strings.Join(protocols, ","))
	b.WriteString("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS\nallow.everyone.if.no.acl.found=true\n")
	b.WriteString("listener.name.sasltls.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\nlistener.name.brief.sasl.enabled.mechanisms=SCRAM-SHA-512\n")
	fmt.Fprintf(&b, "listener.name.brief.connections.max.reauth.ms=%s\n", BriefSession)
	fmt.Fprintf(&b, "listener.name.sasltls.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=\"%s\";\n", s.PlainUser, s.PlainPassword)
	for _, listener := range []string{"sasltls", "brief"} {
		for _, m := range []string{"scram-sha-256", "scram-sha-512"} {
			fmt.Fprintf(&b, "listener.name.%s.%s.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n", listener, m)
		}
	}
	for listener, p := range map[string]pair{"sasltls": s.server, "onlytls": s.soon, "expired": s.expired} {
		key, err := p.keyPEM()
		if err != nil {
			return "", err
		}
		store, trust := filepath.Join(n.dir, listener+".pem"), filepath.Join(n.dir, "authority.pem")
		err = errors.Join(os.WriteFile(store, slices.Concat(key, p.certificatePEM()), 0o600), os.WriteFile(trust, s.authority.certificatePEM(), 0o600))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "listener.name.%[1]s.ssl.keystore.type=PEM\nlistener.name.%[1]s.ssl.keystore.location=%[2]s\n"+
			"listener.name.%[1]s.ssl.truststore.type=PEM\nlistener.name.%[1]s.ssl.truststore.location=%[3]s\n", listener, store, trust)
	}
	b.WriteString("listener.name.onlytls.ssl.client.auth=requested\n")
	return b.String(), nil
}

// scramKinds are Kafka's two, with how they hash.
var scramKinds = []struct {
	id   kafka.ScramMechanism
	kind scram.Algorithm
	hash func() hash.Hash
	size int
}{
	{kafka.ScramMechanismSha256, scram.SHA256, sha256.New, sha256.Size},
	{kafka.ScramMechanismSha512, scram.SHA512, sha512.New, sha512.Size},
}

// SetUser makes a user of SCRAM, both kinds, or gives it another password, and returns when every serving node lets it in. Connections that it has stay.
func (c *Cluster) SetUser(name, password string) error {
	const iterations = 4096 // the least that Kafka takes
	for _, k := range scramKinds {
		salt := []byte(rand.Text())
		salted, err := pbkdf2.Key(k.hash, password, salt, iterations, k.size)
		if err != nil {
			return err
		}
		err = c.alterUser(&kafka.AlterUserScramCredentialsRequest{Upsertions: []kafka.UserScramCredentialsUpsertion{
			{Name: name, Mechanism: k.id, Iterations: iterations, Salt: salt, SaltedPassword: salted}}})
		if err != nil {
			return fmt.Errorf("set user %s: %w", name, err)
		}
	}
	return c.awaitLogin(name, password, true)
}

// DropUser removes a user of SCRAM and returns when no serving node lets it in. Connections that it has stay.
func (c *Cluster) DropUser(name, password string) error {
	for _, k := range scramKinds {
		err := c.alterUser(&kafka.AlterUserScramCredentialsRequest{Deletions: []kafka.UserScramCredentialsDeletion{{Name: name, Mechanism: k.id}}})
		if err != nil {
			return fmt.Errorf("drop user %s: %w", name, err)
		}
	}
	return c.awaitLogin(name, password, false)
}

// alterUser changes one kind of one user: more in one request is refused.
func (c *Cluster) alterUser(q *kafka.AlterUserScramCredentialsRequest) error {
	return c.admin(func(ctx context.Context, client *kafka.Client) error {
		res, err := client.AlterUserScramCredentials(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range res.Results {
			err = errors.Join(err, r.Error)
		}
		return err
	})
}

// awaitLogin tries until every serving node lets the user in with each kind, or none with any.
func (c *Cluster) awaitLogin(name, password string, in bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), topicTimeout)
	defer cancel()
	for _, n := range c.nodes {
		if !n.serving() {
			continue
		}
		for _, k := range scramKinds {
			m, err := scram.Mechanism(k.kind, name, password)
			if err != nil {
				return err
			}
			address := c.secure.SASL[n.number-1]
			if err := until(ctx, func() (bool, error) { return c.login(ctx, address, m) == nil == in, nil }); err != nil {
				return fmt.Errorf("node %d does not follow the change of user %s: %w", n.number, name, err)
			}
		}
	}
	return nil
}

func (c *Cluster) login(ctx context.Context, address string, m sasl.Mechanism) error {
	d := kafka.Dialer{Timeout: topicTimeout, TLS: &tls.Config{RootCAs: c.secure.Roots}, SASLMechanism: m}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Revoke forbids a user to write to a topic, "*" = to any, which ends its right to idempotent writes too; Restore takes that back. Nodes follow a moment
// later.
func (c *Cluster) Revoke(user, topic string) error {
	return c.admin(func(ctx context.Context, client *kafka.Client) error {
		q := &kafka.CreateACLsRequest{}
		for _, r := range forbidden(topic) {
			q.ACLs = append(q.ACLs, kafka.ACLEntry{ResourceType: r.kind, ResourceName: r.name, ResourcePatternType: kafka.PatternTypeLiteral,
				Principal: "User:" + user, Host: "*", Operation: r.operation, PermissionType: kafka.ACLPermissionTypeDeny})
		}
		res, err := client.CreateACLs(ctx, q)
		if err == nil {
			err = errors.Join(res.Errors...)
		}
		return err
	})
}

// Restore takes a Revoke back.
func (c *Cluster) Restore(user, topic string) error {
	return c.admin(func(ctx context.Context, client *kafka.Client) error {
		q := &kafka.DeleteACLsRequest{}
		for _, r := range forbidden(topic) {
			q.Filters = append(q.Filters, kafka.DeleteACLsFilter{ResourceTypeFilter: r.kind, ResourceNameFilter: r.name,
				ResourcePatternTypeFilter: kafka.PatternTypeLiteral, PrincipalFilter: "User:" + user, HostFilter: "*", Operation: r.operation,
				PermissionType: kafka.ACLPermissionTypeDeny})
		}
		res, err := client.DeleteACLs(ctx, q)
		if err != nil {
			return err
		}
		for _, r := range res.Results {
			if err = errors.Join(err, r.Error); len(r.MatchingACLs) == 0 {
				err = errors.Join(err, fmt.Errorf("nothing was revoked from %s on %s", user, topic))
			}
		}
		return err
	})
}

type rule struct {
	kind      kafka.ResourceType
	name      string
	operation kafka.ACLOperationType
}

func forbidden(topic string) []rule {
	rules := []rule{{kafka.ResourceTypeTopic, topic, kafka.ACLOperationTypeWrite}}
	if topic == "*" {
		rules = append(rules, rule{kafka.ResourceTypeCluster, "kafka-cluster", kafka.ACLOperationTypeIdempotentWrite})
	}
	return rules
}
