-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- What was answered to requests that carry an Idempotency-Key, written in the transaction of what they did. Rows count for 24 hours.
CREATE TABLE outbox.idempotency (
  actor text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 64),
  request bytea NOT NULL CHECK (octet_length(request) = 32), -- SHA-256 of what was asked
  status int NOT NULL,
  location text NOT NULL,
  response bytea NOT NULL CHECK (octet_length(response) <= 262144),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (actor, key));
CREATE INDEX idempotency_at ON outbox.idempotency (at);

-- once_begin says what was answered before, and until the end of the transaction nobody else begins the same. running: somebody has begun and not ended.
-- +goose StatementBegin
CREATE FUNCTION outbox.once_begin(actor text, key text, OUT running boolean, OUT request bytea, OUT status int, OUT location text, OUT response bytea)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  running := NOT pg_try_advisory_xact_lock(hashtextextended('once' || chr(31) || once_begin.actor || chr(31) || once_begin.key, 7240911));
  IF running THEN RETURN; END IF;
  SELECT i.request, i.status, i.location, i.response INTO once_begin.request, once_begin.status, once_begin.location, once_begin.response
    FROM outbox.idempotency i WHERE i.actor = once_begin.actor AND i.key = once_begin.key AND i.at > now() - interval '24 h';
END $$;
-- +goose StatementEnd

-- once_end keeps the answer. Its caller has begun.
-- +goose StatementBegin
CREATE FUNCTION outbox.once_end(actor text, key text, request bytea, status int, location text, response bytea) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  DELETE FROM outbox.idempotency i WHERE i.actor = once_end.actor AND i.key = once_end.key AND i.at <= now() - interval '24 h';
  INSERT INTO outbox.idempotency (actor, key, request, status, location, response)
    VALUES (once_end.actor, once_end.key, once_end.request, once_end.status, once_end.location, once_end.response);
END $$;
-- +goose StatementEnd

-- once_sweep deletes at most `most` answers that count no more, and says how many.
-- +goose StatementBegin
CREATE FUNCTION outbox.once_sweep(most int) RETURNS int
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  v_n int;
BEGIN
  DELETE FROM outbox.idempotency i WHERE i.ctid = ANY (ARRAY(SELECT x.ctid FROM outbox.idempotency x WHERE x.at <= now() - interval '24 h' LIMIT once_sweep.most));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  RETURN v_n;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION outbox.once_begin(text, text), outbox.once_end(text, text, bytea, int, text, bytea), outbox.once_sweep(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.once_begin(text, text), outbox.once_end(text, text, bytea, int, text, bytea) TO outbox_operator;
GRANT EXECUTE ON FUNCTION outbox.once_sweep(int) TO outbox_relay;

CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 10; -- the number of the newest migration

-- +goose Down
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;
-- +goose StatementBegin
DO $$
BEGIN
  LOCK TABLE outbox.message_log, outbox.message_held IN ACCESS EXCLUSIVE MODE;
  IF EXISTS (SELECT FROM outbox.message_pending) OR EXISTS (SELECT FROM outbox.message_held) THEN
    RAISE EXCEPTION 'outbox: migrating down would lose messages that are pending or held; let the relay send them, or discard them, first'
      USING ERRCODE = '55000';
  END IF;
END $$;
-- +goose StatementEnd
CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 9;
DROP FUNCTION outbox.once_sweep(int), outbox.once_end(text, text, bytea, int, text, bytea), outbox.once_begin(text, text);
DROP TABLE outbox.idempotency;
