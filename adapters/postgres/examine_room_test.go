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
	d.exec(t, `INSERT INTO outbox.message_log (created_at, topic, payload) VALUES (now() - interval '2 h', 't', convert_to(repeat('x', 100000), 'UTF8'))`)
	x, err := Examine(t.Context(), Config{URL: d.url})
	if err != nil || x.Growth.Err != nil {
		t.Fatal(err, x.Growth.Err)
	}
	g := x.Growth.V
	if g.Age < 2*time.Hour || g.Age > 3*time.Hour || g.Log < 8192 || g.Bytes <= g.Log || g.Spread || !g.Here {
		t.Errorf("%+v", g)
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
