-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- operation_interrupted is for a new owner, before it frees what the one before was sending: those tries are counted and have no outcome, so operation_judge
-- must not take them for failures.
-- +goose StatementBegin
CREATE FUNCTION outbox.operation_interrupted() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
  UPDATE outbox.operation_item i SET attempts = h.attempts
    FROM outbox.operation o, outbox.message_held h
    WHERE o.started_at IS NOT NULL AND o.ended_at IS NULL AND h.sending AND i.operation_id = o.id AND i.id = h.id AND i.step IS NOT NULL AND i.outcome IS NULL
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION outbox.operation_interrupted() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.operation_interrupted() TO outbox_relay;

CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 11; -- the number of the newest migration

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
CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 10;
DROP FUNCTION outbox.operation_interrupted();
