-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

CREATE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 7; -- the number of the newest migration

REVOKE ALL ON SCHEMA outbox FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA outbox FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA outbox FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outbox FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE outbox_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

GRANT USAGE ON SCHEMA outbox TO outbox_producer, outbox_relay, outbox_viewer, outbox_operator, outbox_payload, outbox_monitor;
GRANT EXECUTE ON FUNCTION outbox.version() TO outbox_producer, outbox_relay, outbox_viewer, outbox_operator, outbox_payload, outbox_monitor;

-- An application publishes and sees nothing. The columns are for plain INSERT and COPY; id, created_at and message_id are not among them.
GRANT EXECUTE ON FUNCTION outbox.publish(text, text, text, text, jsonb, timestamptz, text, boolean), outbox.publish(text, json, text, text, jsonb, timestamptz, text, boolean),
  outbox.publish(text, jsonb, text, text, jsonb, timestamptz, text, boolean), outbox.publish_bytes(text, bytea, text, text, jsonb, timestamptz, text, text, boolean),
  outbox.publish_batch(text[], bytea[], text[], text[], jsonb[], timestamptz[], text[], text[], boolean, boolean[]),
  outbox.publish_tombstone(text, text, jsonb, text) TO outbox_producer;
GRANT INSERT (topic, key, type, content_type, headers, payload, deliver_after, traceparent, tracestate) ON outbox.message_log TO outbox_producer;
GRANT EXECUTE ON FUNCTION outbox.next_id(), outbox.flat_headers(jsonb) TO outbox_producer;
GRANT USAGE ON SEQUENCE outbox.message_id_seq TO outbox_producer;

-- The relay reads everything, puts nothing back into pending, never changes the log, writes activity by its function only.
GRANT SELECT ON outbox.message_log, outbox.message_pending, outbox.message_held, outbox.message_discarded, outbox.message_ids, outbox.attempt,
  outbox.receipts, outbox.generations, outbox.owner, outbox.alive, outbox.destination, outbox.relay, outbox.limits, outbox.activity, outbox.partitions,
  outbox.message_status, outbox.message_safe, outbox.overview TO outbox_relay;
GRANT SELECT ON SEQUENCE outbox.message_id_seq TO outbox_relay;
GRANT SELECT, UPDATE ON SEQUENCE outbox.claimed, outbox.asleep, outbox.ceiling TO outbox_relay;
GRANT DELETE ON outbox.message_pending, outbox.message_ids, outbox.message_discarded TO outbox_relay;
GRANT INSERT, UPDATE, DELETE ON outbox.message_held, outbox.alive, outbox.limits, outbox.relay, outbox.attempt TO outbox_relay;
GRANT INSERT ON outbox.receipts, outbox.generations, outbox.destination TO outbox_relay;
GRANT UPDATE ON outbox.owner TO outbox_relay;
GRANT UPDATE (outbox_id, timeline, reason, started_at) ON outbox.generations TO outbox_relay; -- a second promotion before anything was claimed
GRANT EXECUTE ON FUNCTION outbox.here(), outbox.receipts_of(bigint), outbox.add_partition(bigint, bigint), outbox.drop_partition(text, interval),
  outbox.shrink_partition(text, interval), outbox.rest_range(), outbox.purge_rest(interval, int), outbox.key_lock(text, text),
  outbox.log_activity(text, text, text, text, text, int, int, bigint[], text, jsonb, jsonb, jsonb, bigint, text) TO outbox_relay;

-- For people's eyes: nothing here holds a payload or a header value.
GRANT SELECT ON outbox.message_status, outbox.message_safe, outbox.overview, outbox.partitions, outbox.message_pending, outbox.message_held,
  outbox.message_discarded, outbox.message_ids, outbox.attempt, outbox.generations, outbox.destination, outbox.relay, outbox.limits TO outbox_viewer;
GRANT EXECUTE ON FUNCTION outbox.receipts_of(bigint) TO outbox_viewer;

-- For people's hands, on top of the viewer.
GRANT SELECT ON outbox.activity TO outbox_operator;
GRANT EXECUTE ON FUNCTION outbox.retry(bigint[], text, text, text, text), outbox.skip(bigint[], text, text, text, text), outbox.discard(bigint[], text, text, text, text), outbox.activity_hash(outbox.activity),
  outbox.adopt(text, text, text, text, text, text) TO outbox_operator;

GRANT SELECT ON outbox.overview, outbox.partitions TO outbox_monitor;

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
ALTER DEFAULT PRIVILEGES FOR ROLE outbox_owner GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
-- +goose StatementBegin
DO $$
DECLARE
  r text;
BEGIN
  FOREACH r IN ARRAY ARRAY['outbox_producer', 'outbox_relay', 'outbox_viewer', 'outbox_operator', 'outbox_payload', 'outbox_monitor'] LOOP
    CONTINUE WHEN r::regrole = current_user::regrole; -- one role for everything: the owner keeps its own rights
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA outbox FROM %I', r);
    EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA outbox FROM %I', r);
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outbox FROM %I', r);
    EXECUTE format('REVOKE ALL ON SCHEMA outbox FROM %I', r);
  END LOOP;
END $$;
-- +goose StatementEnd
DROP FUNCTION outbox.version();
