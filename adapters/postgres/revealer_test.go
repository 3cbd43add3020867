package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/relay"
)

func (d *desk) revealer(t *testing.T, url string) *Revealer {
	t.Helper()
	r, err := OpenRevealer(Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// S13: what is revealed is what was written, and there is a row for it before it is returned. Where that row cannot be written, or cannot be committed, nothing is returned.
func TestRevealer_S13(t *testing.T) {
	d := newDesk(t, 18)
	d.exec(t, `INSERT INTO outbox.message_log (topic, content_type, headers, payload) VALUES ('a', 'text/plain', '{"h": "ü", "n": ""}', '\x00ff'), ('b', NULL, NULL, NULL), ('c', NULL, NULL, ''),
		('d', NULL, NULL, convert_to(repeat('x', 1048576), 'UTF8')), ('e', NULL, NULL, convert_to(repeat('x', 1048577), 'UTF8'))`)
	r := d.revealer(t, d.url)
	act := relay.Act{Actor: "ui:ana", Via: "ui", Reason: "asked by the customer", Address: "127.0.0.1"}
	for _, want := range []relay.Revealed{
		{ID: 1, Topic: "a", ContentType: "text/plain", Headers: map[string]string{"h": "ü", "n": ""}, Size: 2, Payload: []byte{0, 255}},
		{ID: 2, Topic: "b", Absent: true}, {ID: 3, Topic: "c"},
		{ID: 4, Topic: "d", Size: relay.MaxReveal, Payload: []byte(strings.Repeat("x", relay.MaxReveal))}, {ID: 5, Topic: "e", Size: relay.MaxReveal + 1},
	} {
		got, err := r.Reveal(t.Context(), want.ID, act)
		if err != nil || got.ID != want.ID || got.Topic != want.Topic || got.ContentType != want.ContentType || !maps.Equal(got.Headers, want.Headers) || got.Absent != want.Absent || got.Size != want.Size ||
			string(got.Payload) != string(want.Payload) || got.TooLarge() != (want.ID == 5) {
			t.Errorf("message %d: %+v, %v", want.ID, got.Size, err)
		}
		rows, err := d.inspector.Activity(t.Context(), 0, 1)
		if err != nil || rows[0].ID != got.Activity || rows[0].Action != "reveal" || rows[0].Actor != act.Actor || rows[0].Reason != act.Reason || rows[0].Address != act.Address || len(rows[0].IDs) != 1 || rows[0].IDs[0] != want.ID {
			t.Errorf("the log says %+v, %v", rows, err)
		}
	}
	if got, err := r.Reveal(t.Context(), 99, act); !errors.Is(err, relay.ErrNotFound) || got.Activity != 0 {
		t.Errorf("a message that is not there: %+v, %v", got, err)
	}
	for name, sql := range map[string][2]string{
		"written": {`ALTER TABLE outbox.activity ADD CONSTRAINT broken CHECK (action <> 'reveal') NOT VALID`, `ALTER TABLE outbox.activity DROP CONSTRAINT broken`},
		"committed": {`CREATE FUNCTION outbox.broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$;
			CREATE CONSTRAINT TRIGGER broken AFTER INSERT ON outbox.activity DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION outbox.broken()`, `DROP FUNCTION outbox.broken() CASCADE`},
	} {
		d.exec(t, sql[0])
		before, err := d.inspector.Activity(t.Context(), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Reveal(t.Context(), 1, act)
		if err == nil || got.Payload != nil || got.Headers != nil || strings.Contains(err.Error(), "ü") {
			t.Errorf("its row cannot be %s: %+v, %v", name, got, err)
		}
		if after, err := d.inspector.Activity(t.Context(), 0, 1); err != nil || after[0].ID != before[0].ID {
			t.Errorf("its row cannot be %s: there is one, %v", name, err)
		}
		d.exec(t, sql[1])
	}
	if _, err := r.Reveal(t.Context(), 1, act); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// S13: the database decides: role payload alone may reveal, and may read no table for it.
func TestRevealNeedsItsRole_S13(t *testing.T) {
	d := newDesk(t, 18)
	d.fill(t)
	cfg, err := pgx.ParseConfig(d.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, roles, more string
		want              error
	}{
		{"p_reveals", "outbox_payload", "INHERIT", nil},
		{"p_takes", "outbox_payload, outbox_viewer", "NOINHERIT", nil},
		{"p_acts", "outbox_operator, outbox_viewer", "INHERIT", relay.ErrDenied},
		{"p_relays", "outbox_relay", "INHERIT", relay.ErrDenied},
	} {
		d.exec(t, `CREATE ROLE `+c.name+` LOGIN PASSWORD 'pw' `+c.more+` IN ROLE `+c.roles)
		t.Cleanup(func() { d.conn.Exec(context.Background(), `DROP OWNED BY `+c.name+`; DROP ROLE `+c.name) })
		r := d.revealer(t, fmt.Sprintf("postgres://%s:pw@%s:%d/%s", c.name, cfg.Host, cfg.Port, cfg.Database))
		got, err := r.Reveal(t.Context(), 3, relay.Act{Actor: "api:bot", Via: "api"})
		if !errors.Is(err, c.want) || (c.want == nil) != (string(got.Payload) == "canary") {
			t.Errorf("%s: %q, %v", c.roles, got.Payload, err)
		}
		if err != nil && !strings.Contains(err.Error(), "outbox_payload") {
			t.Errorf("%s: nobody says which role is missing: %v", c.roles, err)
		}
		r.Close()
	}
}
