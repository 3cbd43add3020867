-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- reveal gives what messages carry, and writes down first who asked for it: without that row it gives nothing. A payload above `most` bytes comes as NULL, with its size. The row
-- counts only once it is committed: whoever shows what came before that could roll it back.
-- +goose StatementBegin
CREATE FUNCTION outbox.reveal(ids bigint[], actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL, most int DEFAULT 1048576)
  RETURNS TABLE (activity_id bigint, id bigint, topic text, content_type text, headers jsonb, payload_bytes int, payload bytea)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v_ids bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(reveal.ids) AS i WHERE i IS NOT NULL ORDER BY i);
  v_found bigint[] := ARRAY(SELECT m.id FROM outbox.message_log m WHERE m.id = ANY (v_ids) ORDER BY m.id);
  v_activity bigint;
BEGIN
  IF cardinality(v_ids) NOT BETWEEN 1 AND 10000 THEN
    RAISE EXCEPTION 'outbox: reveal takes 1 to 10000 ids a call, got %', cardinality(v_ids) USING ERRCODE = '22023'; END IF;
  IF coalesce(reveal.actor, '') = '' THEN
    RAISE EXCEPTION 'outbox: reveal needs to know who asks' USING ERRCODE = '22023'; END IF;
  v_activity := outbox.log_activity(reveal.actor, reveal.via, 'reveal', NULL, reveal.reason, cardinality(v_ids), 0, v_found,
    format('%s of %s shown', cardinality(v_found), cardinality(v_ids)), address => reveal.address);
  RETURN QUERY SELECT v_activity, m.id, m.topic, m.content_type, m.headers, octet_length(m.payload),
      CASE WHEN octet_length(m.payload) <= reveal.most THEN m.payload END
    FROM outbox.message_log m WHERE m.id = ANY (v_found) ORDER BY m.id;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION outbox.reveal(bigint[], text, text, text, text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.reveal(bigint[], text, text, text, text, int) TO outbox_payload;

CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 12; -- the number of the newest migration

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
CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 11;
DROP FUNCTION outbox.reveal(bigint[], text, text, text, text, int);
