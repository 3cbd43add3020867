package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/relay"
)

func TestPeoplesRights(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	login := func(name, grants string) string {
		d.exec(t, `CREATE ROLE `+name+` LOGIN PASSWORD 'pw'`)
		d.exec(t, grants)
		t.Cleanup(func() { d.conn.Exec(context.Background(), `DROP OWNED BY `+name+`; DROP ROLE `+name) })
		cfg, err := pgx.ParseConfig(d.url)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("postgres://%s:pw@%s:%d/%s", name, cfg.Host, cfg.Port, cfg.Database)
	}
	act := relay.Act{Actor: "a", Via: "cli", Reason: "r"}
	for _, c := range []struct {
		name, grant     string
		reads, discards error
	}{
		{"p_viewer", `GRANT outbox_viewer TO p_viewer`, nil, relay.ErrDenied},
		{"p_relay", `GRANT outbox_relay TO p_relay`, nil, relay.ErrDenied},
		{"p_operator", `GRANT outbox_operator TO p_operator`, nil, nil},
		{"p_all", `ALTER ROLE p_all NOINHERIT; GRANT outbox_viewer, outbox_operator TO p_all`, nil, nil},
		{"p_producer", `GRANT outbox_producer TO p_producer`, relay.ErrDenied, relay.ErrDenied},
	} {
		cfg := Config{URL: login(c.name, c.grant)}
		i, err := OpenInspector(cfg)
		if err != nil {
			t.Fatal(err)
		}
		o, err := OpenOperator(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = i.Overview(t.Context())
		if !errors.Is(err, c.reads) {
			t.Errorf("%s reads the overview: %v, want %v", c.name, err, c.reads)
		}
		m, err := i.Message(t.Context(), 8)
		if !errors.Is(err, c.reads) || err == nil && (m.DiscardedBy == "") == (c.discards == nil) && c.name != "p_relay" && c.name != "p_all" {
			t.Errorf("%s reads a message: %+v, %v", c.name, m, err)
		}
		if _, err := i.Messages(t.Context(), relay.Filter{}, 0, 0); !errors.Is(err, c.reads) {
			t.Errorf("%s lists: %v", c.name, err)
		}
		audits, err := OpenAuditor(cfg)
		if err != nil {
			t.Fatal(err)
		}
		may := c.name == "p_relay" // an audit reads payloads
		if _, err := audits.Rows(t.Context(), nil, 0, 8, 200, func(*AuditRow) {}); (err == nil) != may || err != nil && (!errors.Is(err, relay.ErrDenied) || !strings.Contains(err.Error(), "outbox_relay")) {
			t.Errorf("%s audits: %v", c.name, err)
		}
		if _, _, err := audits.Begin(t.Context(), 1, 2, 0, act); (err == nil) != may || err != nil && !errors.Is(err, relay.ErrDenied) {
			t.Errorf("%s begins an audit: %v", c.name, err)
		}
		audits.Close()
		if _, err := i.Failures(t.Context()); !errors.Is(err, c.reads) {
			t.Errorf("%s lists failures: %v", c.name, err)
		}
		if rows, err := i.Activity(t.Context(), 0, 0); (c.name == "p_viewer" || c.reads != nil) != errors.Is(err, relay.ErrDenied) || err == nil && len(rows) == 0 {
			t.Errorf("%s reads the activity log: %v, %v", c.name, rows, err)
		}
		if _, err := o.Retry(t.Context(), []relay.ID{6}, act); !errors.Is(err, c.discards) {
			t.Errorf("%s retries: %v, want %v", c.name, err, c.discards)
		}
		if _, err := i.Operations(t.Context(), 0, 0); !errors.Is(err, c.reads) {
			t.Errorf("%s lists operations: %v", c.name, err)
		}
		plan, err := o.Plan(t.Context(), relay.PlanRequest{Action: relay.PlanRetry, Filter: relay.Filter{Terms: []relay.Term{{Name: "id", Op: ':', Values: []string{"6", "own-7"}}}}}, act)
		if err == nil {
			err = errors.Join(o.Start(t.Context(), plan.ID, relay.DefaultPace(), act), o.Steer(t.Context(), plan.ID, relay.Pause, act))
		}
		if !errors.Is(err, c.discards) || err != nil && c.discards == nil {
			t.Errorf("%s plans, starts and pauses: %v, want %v", c.name, err, c.discards)
		}
		if c.name == "p_relay" {
			runsOperations(t, d, cfg)
		}
		i.Close()
		o.Close()
	}
}

// runsOperations: the relay's login runs what an operator started, and has no other right to it.
func runsOperations(t *testing.T, d *desk, cfg Config) {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	o := d.plan(t, relay.PlanRetry, "id:6")
	if err := d.operator.Start(t.Context(), o.ID, relay.DefaultPace(), byAna); err != nil {
		t.Fatal(err)
	}
	if n, err := s.StepOperation(t.Context(), &o, relay.Move{Act: 5, Step: 1}); err != nil || n != 1 {
		t.Errorf("a step: %d, %v", n, err)
	}
	if _, err := s.JudgeOperation(t.Context(), o.ID); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.EndOperation(t.Context(), o.ID, relay.OperationDone, ""), s.SweepOperations(t.Context(), time.Hour)); err != nil {
		t.Error(err)
	}
	s.RestOperations()
}

func TestPeopleWithoutSchema(t *testing.T) {
	i, err := OpenInspector(Config{URL: testservices.Postgres(t, 18).URL})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	var config *relay.ConfigError
	if _, err := i.Overview(t.Context()); !errors.As(err, &config) || !strings.Contains(err.Error(), "waybill migrate up") {
		t.Error(err)
	}
	if v, err := i.Version(t.Context()); v != 0 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if _, err := OpenInspector(Config{URL: "postgres://u:canary@h:x/"}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a bad URL: %v", err)
	}
}
