package migrations

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// rights says who may run a statement: roles without their prefix; everybody else must meet 42501. "nobody" is a login without any of the roles.
var rights = []struct{ sql, may string }{
	{"SELECT outbox.version()", "producer relay viewer operator payload monitor migrator-as-owner"},

	{"SELECT outbox.publish('t', '{}', 'k')", "producer"},
	{"SELECT outbox.publish('t', '{}'::jsonb, 'k', headers => '{\"a\": \"b\"}', message_id => 'new')", "producer"},
	{"SELECT outbox.publish_bytes('t', 'x')", "producer"},
	{"SELECT outbox.publish_tombstone('t', 'k')", "producer"},
	{"SELECT outbox.publish_batch('{t}', '{x}', '{k}')", "producer"},
	{"INSERT INTO outbox.message_log (topic, key, type, content_type, headers, payload, deliver_after) VALUES ('t', 'k', 'y', 'c', '{}', 'x', now())", "producer"},
	{"INSERT INTO outbox.message_log (id, topic) VALUES (99, 't')", ""},
	{"INSERT INTO outbox.message_log (topic, created_at) VALUES ('t', now())", ""},
	{"INSERT INTO outbox.message_log (topic, message_id) VALUES ('t', 'm')", ""},
	{"INSERT INTO outbox.message_log_0 (topic) VALUES ('t')", ""},
	{"INSERT INTO outbox.message_log_rest (topic) VALUES ('t')", ""},
	{"SELECT outbox.next_id()", "producer"},
	{"SELECT setval('outbox.message_id_seq', 1)", ""},

	{"SELECT payload FROM outbox.message_log", "relay"},
	{"SELECT headers FROM outbox.message_log", "relay"},
	{"SELECT payload FROM outbox.message_log_0", ""},
	{"UPDATE outbox.message_log SET payload = 'x'", ""},
	{"DELETE FROM outbox.message_log", ""},
	{"TRUNCATE outbox.message_log", ""},
	{"INSERT INTO outbox.message_pending VALUES (77)", ""},
	{"UPDATE outbox.message_pending SET id = 78", ""},
	{"DELETE FROM outbox.message_pending WHERE id = 1", "relay"},
	{"INSERT INTO outbox.message_held (id, state, topic) VALUES (5, 'dead', 't')", "relay"},
	{"UPDATE outbox.message_held SET attempts = 1", "relay"},
	{"DELETE FROM outbox.message_held WHERE id = 3", "relay"},
	{"SELECT id, error FROM outbox.message_held", "relay viewer operator"},
	{"SELECT id FROM outbox.message_pending", "relay viewer operator"},
	{"DELETE FROM outbox.message_discarded WHERE id = 4", "relay"},
	{"INSERT INTO outbox.message_discarded (id, activity_id, attempts) VALUES (9, 1, 0)", ""},
	{"DELETE FROM outbox.message_ids WHERE id = 4", "relay"},
	{"INSERT INTO outbox.message_ids VALUES ('x', 4)", ""},
	{"INSERT INTO outbox.attempt (id, n, epoch, outcome) VALUES (1, 1, 1, 'unknown')", "relay"},
	{"INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, acked_at, ids) VALUES (2, 2, 1, 1, 1, 'k', '0', now(), '\\x02')", "relay"},
	{"DELETE FROM outbox.receipts", ""},
	{"UPDATE outbox.receipts SET detail = 'x'", ""},
	{"SELECT lane FROM outbox.receipts", "relay"},
	{"SELECT outbox.receipts_of(1)", "relay viewer operator"},

	{"UPDATE outbox.owner SET epoch = epoch + 1", "relay"},
	{"SELECT 1 FROM outbox.owner FOR UPDATE", "relay"},
	{"DELETE FROM outbox.owner", ""},
	{"INSERT INTO outbox.alive (epoch) VALUES (1)", "relay"},
	{"SELECT setval('outbox.claimed', 1), setval('outbox.asleep', 1), setval('outbox.ceiling', 1)", "relay"},
	{"SELECT last_value FROM outbox.message_id_seq", "relay"},
	{"SELECT * FROM outbox.here()", "relay"},
	{"INSERT INTO outbox.generations (from_id, system_identifier, timeline, database_oid, reason) SELECT 9, h.*, 'x' FROM outbox.here() h", "relay"},
	{"UPDATE outbox.generations SET outbox_id = gen_random_uuid(), timeline = 9, reason = 'x', started_at = now() WHERE from_id = 0", "relay"},
	{"UPDATE outbox.generations SET from_id = 7", ""},
	{"UPDATE outbox.generations SET system_identifier = 7", ""},
	{"DELETE FROM outbox.generations", ""},
	{"INSERT INTO outbox.destination (name, kind, cluster_id) VALUES ('k', 'kafka', 'c')", "relay"},
	{"UPDATE outbox.destination SET cluster_id = 'd'", ""},
	{"SELECT name FROM outbox.destination", "relay viewer operator"},
	{"INSERT INTO outbox.relay (instance, started_at, version) VALUES ('i', now(), '1')", "relay"},
	{"INSERT INTO outbox.limits (topic, max_bytes) VALUES ('x', 1)", "relay"},
	{"UPDATE outbox.limits SET max_bytes = 5", "relay"},

	{"SELECT outbox.add_partition(2000000, 3000000)", "relay"},
	{"SELECT outbox.drop_partition('message_log_0', '1 day')", "relay"},
	{"SELECT outbox.shrink_partition('message_log_0')", "relay"},
	{"SELECT outbox.purge_rest('1 day')", "relay"},
	{"SELECT outbox.new_partition('x')", ""},
	{"CREATE TABLE outbox.x (a int)", "migrator-as-owner"},
	{"DROP FUNCTION outbox.version()", "migrator-as-owner"},

	{"SELECT * FROM outbox.message_status", "relay viewer operator"},
	{"SELECT * FROM outbox.message_safe", "relay viewer operator"},
	{"SELECT * FROM outbox.overview", "relay viewer operator monitor"},
	{"SELECT * FROM outbox.partitions", "relay viewer operator monitor"},

	{"SELECT outbox.retry('{3}', 'a', 'r')", "operator"},
	{"SELECT outbox.skip('{3}', 'a', 'r')", "operator"},
	{"SELECT outbox.discard('{3}', 'a', 'r')", "operator"},
	{"SELECT outbox.adopt('kafka-a', 'cluster', 'a', 'r')", "operator"},
	{"SELECT outbox.adopt_database(true, true, 'a', 'r')", ""},
	{"SELECT outbox.release_next('{t}', '{k}')", ""},
	{"SELECT outbox.plan('retry', 'state:dead', 'a')", "operator"},
	{"SELECT outbox.plan_items(2, '{3}')", "operator"},
	{"SELECT outbox.plan_ready(2)", "operator"},
	{"SELECT outbox.start(1, 'a', 'r', true, NULL, 0.05)", "operator"},
	{"SELECT outbox.steer(1, 'stop', 'a', 'r')", "operator"},
	{"SELECT outbox.pause('kafka-a', 'a', 'r')", "operator"},
	{"SELECT outbox.pause_until('kafka-a', 'a', 'r', now() + interval '1 h')", "operator"},
	{"SELECT outbox.resume('kafka-b', 'a', 'r')", "operator"},
	{"SELECT outbox.end_pauses()", "relay"},
	{"SELECT * FROM outbox.pause", "relay viewer operator"},
	{"INSERT INTO outbox.pause (destination, actor, reason, activity_id) VALUES ('d', 'a', 'r', 1)", ""},
	{"DELETE FROM outbox.pause", ""},
	{"SELECT outbox.once_begin('a', 'k')", "operator"},
	{"SELECT outbox.once_end('a', 'k', sha256(''), 200, '', '')", "operator"},
	{"SELECT outbox.once_sweep(10)", "relay"},
	{"SELECT * FROM outbox.idempotency", ""},
	{"DELETE FROM outbox.idempotency", ""},
	{"SELECT outbox.operation_step(1, 1, 10, 0)", "relay"},
	{"SELECT outbox.operation_judge(1)", "relay"},
	{"SELECT outbox.operation_end(1, 'done', NULL)", "relay"},
	{"SELECT outbox.operation_interrupted()", "relay"},
	{"SELECT outbox.operation_sweep('30 days', 10)", "relay"},
	{"SELECT * FROM outbox.operation, outbox.operation_item", "relay viewer operator"},
	{"UPDATE outbox.operation SET state = 'running'", ""},
	{"INSERT INTO outbox.operation_item (operation_id, id, state) VALUES (1, 4, 'dead')", ""},
	{"DELETE FROM outbox.operation_item", ""},
	{"SELECT * FROM outbox.reveal('{1}', 'a', 'r')", "payload"},
	{"SELECT * FROM outbox.activity", "relay operator"},
	{"INSERT INTO outbox.activity (id, actor, via, action, prev_hash, hash) VALUES (9, 'a', 'cli', 'x', '', '')", ""},
	{"UPDATE outbox.activity SET actor = 'b'", ""},
	{"DELETE FROM outbox.activity", ""},
	{"SELECT outbox.log_activity('waybill', 'auto', 'x')", "relay"},
	{"SELECT * FROM outbox.migrations", ""},
	{"SET LOCAL ROLE outbox_owner", "migrator"},
}

func TestRoles(t *testing.T) {
	roles := []string{"producer", "relay", "viewer", "operator", "payload", "monitor", "migrator", "nobody"}
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		do(t, conn, "SELECT outbox.publish('t', '{}', 'k') FROM generate_series(1, 4)")
		do(t, conn, `DELETE FROM outbox.message_pending WHERE id IN (3, 4); INSERT INTO outbox.message_held (id, state, topic, key) VALUES (3, 'dead', 't', 'k');
			INSERT INTO outbox.message_discarded (id, activity_id, attempts) VALUES (4, 1, 0);
			INSERT INTO outbox.operation (action, filter, state, actor, via) VALUES ('retry', '', 'planned', 'a', 'cli'), ('retry', '', 'planning', 'a', 'cli');
			SELECT outbox.pause('kafka-b', 'a', 'r')`)
		cells := 0
		for _, role := range roles {
			as := connect(t, login(t, conn, url, role, map[bool]string{false: "IN ROLE outbox_" + role}[role == "nobody"]))
			for _, r := range rights {
				may := " " + strings.ReplaceAll(r.may, "migrator-as-owner", "") + " "
				want := strings.Contains(may, " "+role+" ")
				if _, err := as.Exec(t.Context(), "BEGIN"); err != nil {
					t.Fatal(err)
				}
				code, message := try(t.Context(), as, r.sql)
				if want && code != "" || !want && code != "42501" {
					t.Errorf("%s: %s: %q %s, may: %v", role, r.sql, code, message, want)
				}
				cells++
				if _, err := as.Exec(t.Context(), "ROLLBACK"); err != nil {
					t.Fatal(err)
				}
			}
		}
		as := connect(t, login(t, conn, url, "migrator_as", "IN ROLE outbox_migrator"))
		do(t, as, "SET ROLE outbox_owner")
		for _, r := range rights {
			if strings.Contains(r.may, "migrator-as-owner") {
				if code, message := try(t.Context(), as, "BEGIN; "+r.sql+"; ROLLBACK"); code != "" {
					t.Errorf("migrator as owner: %s: %s %s", r.sql, code, message)
				}
				cells++
			}
		}
		if cells < 120 {
			t.Errorf("only %d cells", cells)
		}
		if open := ask[string](t, conn, `SELECT coalesce(string_agg(p.oid::regprocedure::text, ', '), '') FROM pg_proc p WHERE pronamespace = 'outbox'::regnamespace
				AND (proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) a WHERE a.grantee = 0))`); open != "" {
			t.Errorf("everybody may execute %s", open)
		}
	})
}

// COPY needs the same rights as INSERT.
func TestProducerCopies(t *testing.T) {
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		as := connect(t, login(t, conn, url, "producer", "IN ROLE outbox_producer"))
		for _, test := range []struct {
			column string
			ok     bool
		}{{"topic", true}, {"message_id", false}} {
			_, err := as.CopyFrom(t.Context(), pgx.Identifier{"outbox", "message_log"}, []string{test.column}, pgx.CopyFromRows([][]any{{"t"}}))
			if (err == nil) != test.ok {
				t.Errorf("COPY of %s: %v", test.column, err)
			}
		}
	})
}

// S17: a schema of the caller, first in search_path, and temporary objects change nothing of what the functions do with the rights of their owner.
func TestHostileSearchPath(t *testing.T) {
	const hostile = `CREATE SCHEMA evil; CREATE TABLE evil.trap (by text);
		CREATE FUNCTION evil.octet_length(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); RETURN 1; END $$;
		CREATE FUNCTION evil.octet_length(bytea) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); RETURN 1; END $$;
		CREATE FUNCTION evil.convert_to(text, name) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); RETURN 'evil'; END $$;
		CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); RETURN 'epoch'; END $$;
		CREATE FUNCTION evil.nextval(regclass) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); RETURN 1; END $$;
		CREATE FUNCTION evil.hashtextextended(text, bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); RETURN 1; END $$;
		CREATE FUNCTION evil.pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); END $$;
		CREATE FUNCTION evil.jsonb_typeof(jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); RETURN 'object'; END $$;
		CREATE FUNCTION evil.pg_sequence_last_value(regclass) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); RETURN 0; END $$;
		CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); END $$;
		CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO evil.trap VALUES (current_user); RETURN true; END $$;
		CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
		CREATE DOMAIN evil.json AS text;
		CREATE DOMAIN evil.regclass AS text;
		CREATE TABLE evil.message_log (id bigint); CREATE TABLE evil.limits (topic text, max_bytes int);
		GRANT ALL ON SCHEMA evil TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA evil TO PUBLIC`
	eachOutbox(t, func(t *testing.T, url string, conn *pgx.Conn) {
		do(t, conn, hostile)
		do(t, conn, "GRANT TEMPORARY ON DATABASE "+ask[string](t, conn, "SELECT current_database()::text")+" TO PUBLIC")
		run := func(role string, statements ...string) {
			as := connect(t, login(t, conn, url, role, "IN ROLE outbox_"+role))
			do(t, as, "SET search_path = evil, pg_temp, outbox, pg_catalog")
			do(t, as, "CREATE TEMP TABLE limits (topic text, max_bytes int); CREATE TEMP TABLE message_pending (id bigint); CREATE TEMP TABLE nt (id bigint)")
			for _, sql := range statements {
				do(t, as, sql)
			}
		}
		run("producer", "SELECT outbox.publish('t', '{}', 'k', headers => '{\"a\": \"b\"}', message_id => 'm')", "SELECT outbox.publish('t', '{}'::jsonb, 'k')",
			"SELECT outbox.publish('t', '{}'::pg_catalog.json, 'k')", "SELECT outbox.publish_bytes('t', 'x', 'k')", "SELECT outbox.publish_tombstone('t', 'k')",
			"SELECT outbox.publish_batch('{t}', '{x}', '{k}', message_ids => '{n}')", "INSERT INTO outbox.message_log (topic, headers) VALUES ('t', '{\"a\": \"b\"}')")
		do(t, conn, "DELETE FROM outbox.message_pending; INSERT INTO outbox.message_held (id, state, topic, key) SELECT id, 'dead', topic, 'k' FROM outbox.message_log")
		run("operator", "SELECT outbox.retry('{1,2}', 'a', 'r')", "SELECT outbox.skip('{3}', 'a', 'r')", "SELECT outbox.discard('{4}', 'a', 'r')", "SELECT outbox.receipts_of(1)",
			"SELECT * FROM outbox.message_status")
		run("relay", "SELECT outbox.add_partition(2000000, 3000000)", "SELECT outbox.drop_partition('message_log_2000000', '1 day')", "SELECT * FROM outbox.here()",
			"SELECT outbox.log_activity('a', 'auto', 'x')", "SELECT outbox.purge_rest('1 day')")
		if caught := ask[string](t, conn, "SELECT coalesce(string_agg(DISTINCT by, ', '), '') FROM evil.trap"); caught != "" {
			t.Errorf("foreign functions were called as %s", caught)
		}
		if n := ask[int](t, conn, "SELECT count(*)::int FROM outbox.message_log"); n != 7 {
			t.Errorf("%d messages, want 7", n)
		}
	})
}
