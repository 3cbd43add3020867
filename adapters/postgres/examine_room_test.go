package postgres

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A server of this machine is known as such, with the folder that its disk is asked for by; what the login may not know stays empty.
func TestExamineRoom(t *testing.T) {
	d := newDesk(t, 18)
	d.exec(t, `INSERT INTO outbox.message_log (created_at, topic, payload) VALUES (now() - interval '2 h', 't', convert_to(repeat('x', 100000), 'UTF8')), (now() - interval '1 h', 't', 'x')`)
	d.exec(t, `INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, acked_at, ids) VALUES (1, 1, 1, 1, 1, 'kafka-a', 't/0', now(), '\x01')`)
	d.exec(t, `SET session_replication_role = replica; INSERT INTO outbox.message_log (id, created_at, topic, payload) VALUES (1500000, now() - interval '1 min', 't', 'x')`)
	x, err := Examine(t.Context(), Config{URL: d.url})
	if err != nil || x.Growth.Err != nil {
		t.Fatal(err, x.Growth.Err)
	}
	g := x.Growth.V
	if len(g.Parts) != 2 || g.Spread || !g.Here {
		t.Fatalf("%+v", g)
	}
	var bytes int64
	if err := d.conn.QueryRow(t.Context(), `SELECT pg_total_relation_size('outbox.message_log_0') + pg_total_relation_size('outbox.receipts_0')`).Scan(&bytes); err != nil {
		t.Fatal(err)
	}
	old, young := g.Parts[0], g.Parts[1]
	if old.Age < 2*time.Hour || old.Age > 3*time.Hour || old.Bytes != bytes || young.Age < time.Minute || young.Age > time.Hour || g.Bytes <= old.Bytes+young.Bytes {
		t.Errorf("%+v, the first of %d bytes", g, bytes)
	}
	if _, err := os.Stat(filepath.Join(g.Dir, "PG_VERSION")); g.Dir == "" || err != nil {
		t.Errorf("the data folder %q: %v", g.Dir, err)
	}
}

// Only a process that names our login, database and port is the server's end of our connection.
func TestIsBackend(t *testing.T) {
	tcp, socket := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 41234}, &net.UnixAddr{Name: "", Net: "unix"}
	for _, c := range []struct {
		title string
		from  net.Addr
		want  bool
	}{
		{"postgres: app shop 127.0.0.1(41234) idle", tcp, true},
		{"postgres: main: app shop 127.0.0.1(41234) SELECT", tcp, true},
		{"postgres: app shop [local] SELECT", socket, true},
		{"postgres: app shop 127.0.0.1(41235) idle", tcp, false},
		{"postgres: other shop 127.0.0.1(41234) idle", tcp, false},
		{"postgres: app other 127.0.0.1(41234) idle", tcp, false},
		{"postgres: app shop [local] SELECT", tcp, false},
		{"vim app shop 127.0.0.1(41234) notes", tcp, false},
		{"", tcp, false},
	} {
		if got := isBackend(c.title, "app", "shop", c.from); got != c.want {
			t.Errorf("%q: %v", c.title, got)
		}
	}
}
