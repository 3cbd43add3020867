-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- publish_batch writes many messages and returns their message ids in array order. Each optional array is null or as long as topics. An element with
-- tombstones[i] has a null payload. All keys are locked in one fixed order, so batches cannot deadlock each other; one lock slot per distinct key.
-- +goose StatementBegin
CREATE FUNCTION outbox.publish_batch(topics text[], payloads bytea[], keys text[] DEFAULT NULL, types text[] DEFAULT NULL, headers jsonb[] DEFAULT NULL,
    deliver_after timestamptz[] DEFAULT NULL, message_ids text[] DEFAULT NULL, content_types text[] DEFAULT NULL, ordered boolean DEFAULT true,
    tombstones boolean[] DEFAULT NULL)
  RETURNS SETOF text LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  v_count int := coalesce(cardinality(topics), 0);
  v_ids bigint[];
  v_lost text[];
  v record;
BEGIN
  FOR v IN SELECT * FROM (VALUES ('payloads', coalesce(cardinality(payloads), 0)), ('keys', cardinality(keys)), ('types', cardinality(types)),
      ('headers', cardinality(publish_batch.headers)), ('deliver_after', cardinality(publish_batch.deliver_after)),
      ('message_ids', cardinality(message_ids)), ('content_types', cardinality(content_types)), ('tombstones', cardinality(tombstones))) AS a(name, n)
      WHERE a.n <> v_count LIMIT 1 LOOP
    RAISE EXCEPTION 'outbox: topics has % elements, % has %', v_count, v.name, v.n USING ERRCODE = '22023';
  END LOOP;
  IF v_count = 0 THEN RETURN; END IF;

  SELECT c.n, c.code, c.text INTO v FROM (
    SELECT u.n, c.code, c.text
    FROM unnest(topics, payloads, keys, publish_batch.headers, publish_batch.deliver_after, message_ids, tombstones)
      WITH ORDINALITY AS u(topic, payload, key, headers, deliver_after, message_id, tombstone, n)
    CROSS JOIN LATERAL (SELECT octet_length(u.payload)::bigint + coalesce(octet_length(u.key), 0) + coalesce(octet_length(u.headers::text), 0) AS size,
      (SELECT l.max_bytes FROM outbox.limits l WHERE l.topic IN (u.topic, '*') ORDER BY l.topic = '*' LIMIT 1) AS max) s
    CROSS JOIN LATERAL (VALUES
      (1, 'OB001', CASE WHEN u.topic IS NULL OR octet_length(u.topic) NOT BETWEEN 1 AND 249
        THEN format('topic must be 1 to 249 bytes, got %s', coalesce(octet_length(u.topic)::text, 'null')) END),
      (2, 'OB001', CASE WHEN octet_length(u.key) NOT BETWEEN 1 AND 1024 THEN format('key must be 1 to 1024 bytes, got %s', octet_length(u.key)) END),
      (3, 'OB001', CASE WHEN octet_length(u.message_id) NOT BETWEEN 1 AND 256
        THEN format('message id must be 1 to 256 bytes, got %s', octet_length(u.message_id)) END),
      (4, 'OB001', CASE WHEN u.deliver_after < '0001-01-01 00:00:00+00' OR u.deliver_after >= '10000-01-01 00:00:00+00'
        THEN 'deliver_after must lie in the years 1 to 9999' END),
      (5, 'OB002', CASE WHEN u.tombstone AND u.payload IS NOT NULL THEN 'a tombstone has no payload'
        WHEN u.tombstone IS NOT TRUE AND u.payload IS NULL THEN 'payload is null' END),
      (6, 'OB003', CASE WHEN NOT outbox.flat_headers(u.headers)
        THEN 'headers must be a flat object of strings, with names that are not empty and do not begin with "waybill-"' END),
      (7, 'OB004', CASE WHEN s.size > s.max THEN format('payload, key and headers have %s bytes, topic "%s" allows %s', s.size, u.topic, s.max) END)
    ) AS c(rank, code, text)
    WHERE c.text IS NOT NULL ORDER BY u.n, c.rank LIMIT 1) c;
  IF FOUND THEN
    RAISE EXCEPTION 'outbox: element %: %', v.n, v.text USING ERRCODE = v.code; END IF;

  IF ordered THEN
    PERFORM pg_advisory_xact_lock(s.h) FROM (SELECT DISTINCT outbox.key_lock(u.topic, u.key) AS h FROM unnest(topics, keys) AS u(topic, key)
      WHERE u.key IS NOT NULL ORDER BY 1) s; END IF;
  v_ids := ARRAY(SELECT outbox.next_id() FROM generate_series(1, v_count));

  IF message_ids IS NOT NULL THEN
    INSERT INTO outbox.message_ids (message_id, id)
      SELECT u.message_id, v_ids[u.n] FROM unnest(message_ids) WITH ORDINALITY AS u(message_id, n)
      WHERE u.message_id IS NOT NULL ORDER BY u.message_id, u.n ON CONFLICT DO NOTHING;
    v_lost := ARRAY(SELECT DISTINCT u.message_id FROM unnest(message_ids) WITH ORDINALITY AS u(message_id, n)
      WHERE u.message_id IS NOT NULL AND NOT EXISTS (SELECT FROM outbox.message_ids i WHERE i.message_id = u.message_id AND i.id = v_ids[u.n]));
    IF cardinality(v_lost) > 0 THEN -- remembered as long as its message: the id of one that was dropped with its partition is free again
      UPDATE outbox.message_ids i SET id = v_ids[f.n]
        FROM (SELECT u.message_id, min(u.n) AS n FROM unnest(message_ids) WITH ORDINALITY AS u(message_id, n)
              WHERE u.message_id = ANY (v_lost) GROUP BY 1) f
        WHERE i.message_id = f.message_id AND i.id <> ALL (v_ids) AND NOT EXISTS (SELECT FROM outbox.message_log l WHERE l.id = i.id);
    END IF;
  END IF;

  INSERT INTO outbox.message_log (id, topic, key, type, headers, deliver_after, content_type, message_id, traceparent, tracestate, payload)
    SELECT v_ids[u.n], u.topic, u.key, u.type, nullif(u.headers - 'traceparent' - 'tracestate', '{}'), u.deliver_after,
      CASE WHEN u.tombstone IS NOT TRUE THEN coalesce(u.content_type, 'application/octet-stream') END,
      u.message_id, u.headers ->> 'traceparent', u.headers ->> 'tracestate', u.payload
    FROM unnest(topics, payloads, keys, types, publish_batch.headers, publish_batch.deliver_after, message_ids, content_types, tombstones)
      WITH ORDINALITY AS u(topic, payload, key, type, headers, deliver_after, message_id, content_type, tombstone, n)
    WHERE u.message_id IS NULL OR EXISTS (SELECT FROM outbox.message_ids i WHERE i.message_id = u.message_id AND i.id = v_ids[u.n])
    ORDER BY u.n;

  IF cardinality(v_lost) > 0 THEN
    SELECT u.n, u.message_id INTO v FROM unnest(topics, payloads, keys, message_ids) WITH ORDINALITY AS u(topic, payload, key, message_id, n)
      JOIN outbox.message_ids i ON i.message_id = u.message_id JOIN outbox.message_log l ON l.id = i.id
      WHERE u.message_id = ANY (v_lost) AND (l.topic <> u.topic OR l.key IS DISTINCT FROM u.key OR l.payload IS DISTINCT FROM u.payload)
      ORDER BY u.n LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION 'outbox: element %: message id % was already used for another message', v.n, v.message_id USING ERRCODE = 'OB005'; END IF;
  END IF;

  RETURN QUERY SELECT coalesce(u.message_id, g.prefix || v_ids[u.n])
    FROM (SELECT (SELECT o.outbox_id FROM outbox.generations o ORDER BY o.from_id DESC LIMIT 1)::text || '-' AS prefix) g,
      unnest(topics, message_ids) WITH ORDINALITY AS u(topic, message_id, n) ORDER BY u.n;
END $$;
-- +goose StatementEnd

-- publish_tombstone writes a message without a payload: "this key is gone" for a compacted topic.
CREATE FUNCTION outbox.publish_tombstone(topic text, key text, headers jsonb DEFAULT NULL, message_id text DEFAULT NULL) RETURNS text LANGUAGE sql
  RETURN (SELECT b FROM outbox.publish_batch(ARRAY[topic], ARRAY[NULL::bytea], ARRAY[key], headers => ARRAY[headers], message_ids => ARRAY[message_id],
    tombstones => ARRAY[true]) AS b);

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
DROP FUNCTION outbox.publish_tombstone(text, text, jsonb, text);
DROP FUNCTION outbox.publish_batch(text[], bytea[], text[], text[], jsonb[], timestamptz[], text[], text[], boolean, boolean[]);
