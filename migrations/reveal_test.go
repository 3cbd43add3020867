package migrations

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// S13: what is revealed comes with its row in the log, which names who, why and what; without that row nothing comes.
func TestReveal_S13(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		do(t, conn, `INSERT INTO outbox.message_log (topic, content_type, headers, payload) VALUES ('a', 'text/plain', '{"h": "v"}', 'secret'), ('b', NULL, NULL, NULL), ('c', NULL, NULL, '')`)
		got := func(sql string, args ...any) string {
			return ask[string](t, conn, `SELECT coalesce(string_agg(concat_ws('|', r.id, r.topic, coalesce(r.content_type, '-'), coalesce(r.headers::text, '-'), coalesce(r.payload_bytes::text, '-'),
				coalesce(convert_from(r.payload, 'UTF8'), 'null')), ' ' ORDER BY r.id), '') FROM outbox.reveal(`+sql+`) r`, args...)
		}
		for _, c := range []struct{ call, want, logged string }{
			{`'{3,1,1,99,2}', 'ui:ana', 'because', 'ui', '::1'`, `1|a|text/plain|{"h": "v"}|6|secret 2|b|-|-|-|null 3|c|-|-|0|`, "ui:ana because ui ::1 reveal 4 0 {1,2,3} 3 of 4 shown"},
			{`'{1}', 'api:bot', NULL, most => 5`, `1|a|text/plain|{"h": "v"}|6|null`, "api:bot cli reveal 1 0 {1} 1 of 1 shown"},
			{`'{99}', 'api:bot', 'r'`, "", "api:bot r cli reveal 1 0 {} 0 of 1 shown"},
		} {
			if text := got(c.call); text != c.want {
				t.Errorf("reveal(%s): %s, want %s", c.call, text, c.want)
			}
			if text := ask[string](t, conn, `SELECT concat_ws(' ', actor, reason, via, address, action, requested, changed, ids, result) FROM outbox.activity ORDER BY id DESC LIMIT 1`); text != c.logged {
				t.Errorf("reveal(%s): the log says %s, want %s", c.call, text, c.logged)
			}
		}
		rows := ask[int](t, conn, "SELECT count(*)::int FROM outbox.activity")
		for _, bad := range []string{`'{}', 'a', 'r'`, `NULL, 'a', 'r'`, `'{1}', '', 'r'`, `'{1}', NULL, 'r'`, `ARRAY(SELECT generate_series(1, 10001)), 'a', 'r'`} {
			if code, _ := try(t.Context(), conn, "SELECT * FROM outbox.reveal("+bad+")"); code != "22023" {
				t.Errorf("reveal(%.40s): %s", bad, code)
			}
		}
		if code, _ := try(t.Context(), conn, "BEGIN READ ONLY; SELECT * FROM outbox.reveal('{1}', 'a', 'r')"); code != "25006" {
			t.Errorf("in a transaction that writes nothing: %s", code)
		}
		do(t, conn, "ROLLBACK")
		do(t, conn, "ALTER TABLE outbox.activity ADD CONSTRAINT broken CHECK (action <> 'reveal') NOT VALID")
		if code, _ := try(t.Context(), conn, "SELECT * FROM outbox.reveal('{1}', 'a', 'r')"); code != "23514" {
			t.Errorf("without its row: %s", code)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.activity"); n != rows {
			t.Errorf("%d rows, want %d", n, rows)
		}
	})
}
