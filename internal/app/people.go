package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// People is what commands use on behalf of a person: straight to the database, whose roles decide what is allowed.
type People struct {
	relay.Inspector
	config    *config.Config
	inspector *postgres.Inspector
	operator  *postgres.Operator
}

// OpenPeople prepares the connections; they are made when they are first used.
func OpenPeople(c *config.Config) (*People, error) {
	db, err := peopleDatabase(c)
	if err != nil {
		return nil, err
	}
	i, err := postgres.OpenInspector(db)
	if err != nil {
		return nil, err
	}
	o, err := postgres.OpenOperator(db)
	if err != nil {
		i.Close()
		return nil, err
	}
	return &People{Inspector: i, config: c, inspector: i, operator: o}, nil
}

func peopleDatabase(c *config.Config) (postgres.Config, error) {
	url, err := c.Database.URL.Reveal()
	if err != nil {
		return postgres.Config{}, &relay.ConfigError{Class: relay.ClassInvalid, Text: "database.url: " + err.Error()}
	}
	return postgres.Config{URL: url, Schema: c.Database.Schema, ConnectTimeout: c.Database.Timeouts.Connect, StatementTimeout: c.Database.Timeouts.Inspect}, nil
}

// MigrationURL is the connection string for migrations: direct, past a transaction pooler.
func MigrationURL(c *config.Config) (string, error) {
	secret, path := c.Database.DirectURL, "database.direct_url"
	if !secret.IsSet() {
		secret, path = c.Database.URL, "database.url"
	}
	url, err := secret.Reveal()
	if err != nil {
		return "", &relay.ConfigError{Class: relay.ClassInvalid, Text: path + ": " + err.Error()}
	}
	return url, nil
}

// Close ends the connections.
func (p *People) Close() {
	p.inspector.Close()
	p.operator.Close()
}

// CheckSchema fails with a *relay.ConfigError when the schema is missing or older than this program.
func (p *People) CheckSchema(ctx context.Context) error {
	v, err := p.inspector.Version(ctx)
	if err != nil || v >= migrations.Version {
		return err
	}
	text := fmt.Sprintf("schema %q is version %d, this program needs %d; run: waybill migrate up", p.config.Database.Schema, v, migrations.Version)
	if v == 0 {
		text = fmt.Sprintf("schema %q has no outbox; run: waybill migrate up", p.config.Database.Schema)
	}
	return &relay.ConfigError{Class: relay.ClassInvalid, Text: text}
}

// Actor names the person at the keyboard for the activity log; the database adds its own login.
func Actor() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return "cli:" + name + "@" + host
}

// ActName is one of the acts on messages.
type ActName string

// The acts.
const (
	ActRetry   ActName = "retry"
	ActSkip    ActName = "skip"
	ActDiscard ActName = "discard"
)

// Act carries out an act on any number of messages, relay.MaxActed at a time. After an error the answer covers what was done before it.
func (p *People) Act(ctx context.Context, name ActName, ids []relay.ID, reason string) (relay.Acted, error) {
	do := map[ActName]func(context.Context, []relay.ID, relay.Act) (relay.Acted, error){
		ActRetry: p.operator.Retry, ActSkip: p.operator.Skip, ActDiscard: p.operator.Discard}[name]
	act := relay.Act{Actor: Actor(), Via: "cli", Reason: reason}
	var sum relay.Acted
	for chunk := range slices.Chunk(ids, relay.MaxActed) {
		got, err := do(ctx, chunk, act)
		if err != nil {
			return sum, err
		}
		sum.Activity = got.Activity
		sum.Requested += got.Requested
		sum.Changed += got.Changed
		sum.Sending += got.Sending
		sum.Other += got.Other
		sum.Missing += got.Missing
		sum.Unchanged = append(sum.Unchanged, got.Unchanged...)
	}
	return sum, nil
}

// Question is what a person asks Why about; the zero Question means the whole outbox.
type Question struct {
	Ref         string // a message: its id or message id
	Key         relay.Key
	Destination string
}

// Why gathers a snapshot and answers. A database that cannot be asked is an answer too; what a person must change about access is an error.
func (p *People) Why(ctx context.Context, q Question) (Answer, error) {
	s := p.about(q)
	err := p.gather(ctx, &s)
	var wrong *relay.ConfigError
	switch {
	case errors.As(err, &wrong), errors.Is(err, relay.ErrDenied), errors.Is(err, relay.ErrNotFound), errors.Is(err, context.Canceled):
		return Answer{}, err
	case err != nil:
		s.Database = err
	}
	return Why(s), nil
}

func (p *People) about(q Question) Snapshot {
	s := Snapshot{Ref: q.Ref, Key: q.Key, Destination: q.Destination, Lease: p.config.Relay.Lease, Stuck: p.config.Relay.StuckAfter}
	if n, ok := p.config.Retry.MaxAttempts.Get(); ok {
		s.MaxAttempts = int(n)
	}
	if n, err := strconv.ParseInt(q.Ref, 10, 64); err == nil && n > 0 {
		s.RefID = relay.ID(n)
	}
	return s
}

func (p *People) gather(ctx context.Context, s *Snapshot) error {
	if err := p.CheckSchema(ctx); err != nil {
		return err
	}
	o, err := p.Overview(ctx)
	if err != nil {
		return err
	}
	s.Overview = &o
	if s.Destination != "" && !slices.ContainsFunc(p.config.Destinations, func(d config.Destination) bool { return d.Name == s.Destination }) {
		return fmt.Errorf("%w: there is no destination %q in the configuration", relay.ErrNotFound, s.Destination)
	}
	if s.Ref != "" {
		return p.gatherMessage(ctx, s)
	}
	if s.Key != (relay.Key{}) {
		k, err := p.Key(ctx, s.Key)
		if errors.Is(err, relay.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		s.KeyInfo = &k
		s.KeyInfoOf, err = p.optional(ctx, k.Head)
		return err
	}
	return nil
}

func (p *People) gatherMessage(ctx context.Context, s *Snapshot) error {
	id, err := p.Find(ctx, s.Ref)
	if errors.Is(err, relay.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.Message, err = p.optional(ctx, id); err != nil || s.Message == nil {
		return err
	}
	if len(p.config.Routes) > 0 {
		s.Routed = routed(p.config, s.Message)
	}
	if s.Message.Head != 0 {
		s.Head, err = p.optional(ctx, s.Message.Head)
	}
	return err
}

// optional returns nil for a message that has gone meanwhile.
func (p *People) optional(ctx context.Context, id relay.ID) (*relay.MessageInfo, error) {
	m, err := p.Message(ctx, id)
	if errors.Is(err, relay.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &m, nil
}
