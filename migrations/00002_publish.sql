-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- The order of a key is the order of these locks: taken before the id is drawn, held until COMMIT.
CREATE FUNCTION outbox.key_lock(topic text, key text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN hashtextextended(topic || chr(31) || key, 7240911); -- another outbox in the same database has another seed

-- +goose StatementBegin
-- The cells are asked by function: a query in each IF would cost every writer far more.
CREATE FUNCTION outbox.enqueue() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_sequence_last_value('outbox.message_id_seq') > pg_sequence_last_value('outbox.ceiling') THEN
    RAISE EXCEPTION 'outbox: too many unsent messages' USING ERRCODE = 'OB006',
      HINT = 'The relay is behind or not running; see: waybill why'; END IF;
  INSERT INTO outbox.message_pending (id) SELECT id FROM nt;
  IF pg_sequence_last_value('outbox.asleep') = 1 THEN
    PERFORM pg_notify('outbox', '') FROM outbox.owner WHERE lease_until > now(); END IF;
  RETURN NULL;
END $$;
-- +goose StatementEnd
-- It fires for statements on the parent only: nobody gets INSERT on a partition. A row due later is enqueued too: the relay sets it aside.
CREATE TRIGGER enqueue AFTER INSERT ON outbox.message_log REFERENCING NEW TABLE AS nt FOR EACH STATEMENT EXECUTE FUNCTION outbox.enqueue();

-- publish_bytes writes one message and returns its message id. It validates first, so that a mistake fails in the caller's transaction and no payload lands
-- in the server log through a constraint error. Plain plpgsql with few queries: each costs far more than an expression.
-- +goose StatementBegin
CREATE FUNCTION outbox.publish_bytes(topic text, payload bytea, key text DEFAULT NULL, type text DEFAULT NULL, headers jsonb DEFAULT NULL,
    deliver_after timestamptz DEFAULT NULL, message_id text DEFAULT NULL, content_type text DEFAULT 'application/octet-stream', ordered boolean DEFAULT true)
  RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v_id bigint;
  v_h jsonb := publish_bytes.headers;
  v_tp text;
  v_ts text;
  v_size bigint;
  v_max int;
  v_outbox text;
BEGIN
  IF publish_bytes.topic IS NULL OR octet_length(publish_bytes.topic) NOT BETWEEN 1 AND 249 THEN
    RAISE EXCEPTION 'outbox: topic must be 1 to 249 bytes, got %', coalesce(octet_length(publish_bytes.topic)::text, 'null') USING ERRCODE = 'OB001'; END IF;
  IF octet_length(publish_bytes.key) NOT BETWEEN 1 AND 1024 THEN
    RAISE EXCEPTION 'outbox: key must be 1 to 1024 bytes, got %', octet_length(publish_bytes.key) USING ERRCODE = 'OB001',
      HINT = 'A message without a key has key null.'; END IF;
  IF octet_length(publish_bytes.message_id) NOT BETWEEN 1 AND 256 THEN
    RAISE EXCEPTION 'outbox: message id must be 1 to 256 bytes, got %', octet_length(publish_bytes.message_id) USING ERRCODE = 'OB001'; END IF;
  IF publish_bytes.deliver_after < '0001-01-01 00:00:00+00' OR publish_bytes.deliver_after >= '10000-01-01 00:00:00+00' THEN
    RAISE EXCEPTION 'outbox: deliver_after must lie in the years 1 to 9999' USING ERRCODE = 'OB001'; END IF;
  IF publish_bytes.payload IS NULL THEN
    RAISE EXCEPTION 'outbox: payload is null' USING ERRCODE = 'OB002', HINT = 'To publish a tombstone use publish_tombstone.'; END IF;
  IF v_h IS NOT NULL THEN
    IF NOT outbox.flat_headers(v_h) THEN
      RAISE EXCEPTION 'outbox: headers must be a flat object of strings, with names that are not empty and do not begin with "waybill-"'
        USING ERRCODE = 'OB003'; END IF;
  END IF;
  v_size := octet_length(publish_bytes.payload)::bigint + coalesce(octet_length(publish_bytes.key), 0) + coalesce(octet_length(v_h::text), 0);
  SELECT coalesce((SELECT l.max_bytes FROM outbox.limits l WHERE l.topic = publish_bytes.topic), (SELECT l.max_bytes FROM outbox.limits l WHERE l.topic = '*')),
      (SELECT g.outbox_id FROM outbox.generations g ORDER BY g.from_id DESC LIMIT 1)
    INTO v_max, v_outbox;
  IF v_size > v_max THEN
    RAISE EXCEPTION 'outbox: payload, key and headers have % bytes, topic "%" allows %', v_size, publish_bytes.topic, v_max USING ERRCODE = 'OB004',
      HINT = 'Store the payload elsewhere and publish a reference to it, or raise the limit of the broker.'; END IF;
  IF v_h IS NOT NULL THEN
    v_tp := v_h ->> 'traceparent';
    v_ts := v_h ->> 'tracestate';
    v_h := nullif(v_h - 'traceparent' - 'tracestate', '{}');
  END IF;

  IF publish_bytes.key IS NOT NULL AND publish_bytes.ordered THEN -- before the id is drawn: id order = commit order inside the key
    IF pg_advisory_xact_lock(outbox.key_lock(publish_bytes.topic, publish_bytes.key)) IS NULL THEN END IF; END IF; -- not PERFORM, which is a query
  v_id := outbox.next_id();
  IF publish_bytes.message_id IS NOT NULL THEN -- a given id is unique: the loser waits here for the winner's COMMIT
    INSERT INTO outbox.message_ids AS m (message_id, id) VALUES (publish_bytes.message_id, v_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
      PERFORM FROM outbox.message_ids i JOIN outbox.message_log l ON l.id = i.id WHERE i.message_id = publish_bytes.message_id AND l.topic = publish_bytes.topic
         AND l.key IS NOT DISTINCT FROM publish_bytes.key AND l.payload IS NOT DISTINCT FROM publish_bytes.payload;
      IF FOUND THEN RETURN publish_bytes.message_id; END IF;
      UPDATE outbox.message_ids i SET id = v_id -- remembered as long as its message, and that one was dropped with its partition
        WHERE i.message_id = publish_bytes.message_id AND NOT EXISTS (SELECT FROM outbox.message_log l WHERE l.id = i.id);
      IF NOT FOUND THEN
        RAISE EXCEPTION 'outbox: message id % was already used for another message', publish_bytes.message_id USING ERRCODE = 'OB005'; END IF;
    END IF;
  END IF;
  INSERT INTO outbox.message_log (id, topic, key, type, headers, deliver_after, content_type, message_id, traceparent, tracestate, payload)
  VALUES (v_id, publish_bytes.topic, publish_bytes.key, publish_bytes.type, v_h, publish_bytes.deliver_after, publish_bytes.content_type,
          publish_bytes.message_id, v_tp, v_ts, publish_bytes.payload);
  RETURN coalesce(publish_bytes.message_id, v_outbox || '-' || v_id);
END $$;
-- +goose StatementEnd

-- publish writes one JSON message. text and json keep the bytes, jsonb reformats them. Bad JSON is PostgreSQL's own 22P02.
CREATE FUNCTION outbox.publish(topic text, payload text, key text DEFAULT NULL, type text DEFAULT NULL, headers jsonb DEFAULT NULL,
    deliver_after timestamptz DEFAULT NULL, message_id text DEFAULT NULL, ordered boolean DEFAULT true) RETURNS text LANGUAGE sql
  RETURN outbox.publish_bytes(topic, convert_to((payload::json)::text, 'UTF8'), key, type, headers, deliver_after, message_id, 'application/json', ordered);
CREATE FUNCTION outbox.publish(topic text, payload json, key text DEFAULT NULL, type text DEFAULT NULL, headers jsonb DEFAULT NULL,
    deliver_after timestamptz DEFAULT NULL, message_id text DEFAULT NULL, ordered boolean DEFAULT true) RETURNS text LANGUAGE sql
  RETURN outbox.publish_bytes(topic, convert_to(payload::text, 'UTF8'), key, type, headers, deliver_after, message_id, 'application/json', ordered);
CREATE FUNCTION outbox.publish(topic text, payload jsonb, key text DEFAULT NULL, type text DEFAULT NULL, headers jsonb DEFAULT NULL,
    deliver_after timestamptz DEFAULT NULL, message_id text DEFAULT NULL, ordered boolean DEFAULT true) RETURNS text LANGUAGE sql
  RETURN outbox.publish_bytes(topic, convert_to(payload::text, 'UTF8'), key, type, headers, deliver_after, message_id, 'application/json', ordered);

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
DROP TRIGGER enqueue ON outbox.message_log;
DROP FUNCTION outbox.publish(text, jsonb, text, text, jsonb, timestamptz, text, boolean), outbox.publish(text, json, text, text, jsonb, timestamptz, text, boolean),
  outbox.publish(text, text, text, text, jsonb, timestamptz, text, boolean);
DROP FUNCTION outbox.publish_bytes(text, bytea, text, text, jsonb, timestamptz, text, text, boolean);
DROP FUNCTION outbox.enqueue(), outbox.key_lock(text, text);
