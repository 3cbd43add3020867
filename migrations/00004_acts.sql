-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- The hash of one row of the log: over the hash of the row before and every other column, in a form no session setting changes.
CREATE FUNCTION outbox.activity_hash(a outbox.activity) RETURNS bytea LANGUAGE sql STABLE
  RETURN sha256((a).prev_hash || convert_to(jsonb_build_array((a).id, (extract(epoch FROM (a).at) * 1000000)::bigint, (a).actor, (a).via, (a).db_user,
    (a).address, (a).action, (a).target, (a).operation_id, (a).reason, (a).filter, (a).requested, (a).changed, to_jsonb((a).ids), (a).before, (a).after,
    (a).result)::text, 'UTF8'));

-- log_activity writes one row in the transaction of the act. The advisory lock is held until COMMIT, so ids become visible in order: here, and only here,
-- "id > last seen" loses nothing.
-- +goose StatementBegin
CREATE FUNCTION outbox.log_activity(actor text, via text, action text, target text DEFAULT NULL, reason text DEFAULT NULL, requested int DEFAULT 0,
    changed int DEFAULT 0, ids bigint[] DEFAULT NULL, result text DEFAULT NULL, before jsonb DEFAULT NULL, after jsonb DEFAULT NULL, filter jsonb DEFAULT NULL,
    operation_id bigint DEFAULT NULL, address text DEFAULT NULL)
  RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  a outbox.activity;
BEGIN
  PERFORM pg_advisory_xact_lock(7240911, 1);
  SELECT coalesce(max(l.id), 0) + 1 INTO a.id FROM outbox.activity l;
  a.prev_hash := coalesce((SELECT l.hash FROM outbox.activity l WHERE l.id = a.id - 1), decode(repeat('00', 32), 'hex'));
  a.at := clock_timestamp();
  a.actor := actor; a.via := via; a.db_user := session_user; a.address := address; a.action := action; a.target := target;
  a.operation_id := operation_id; a.reason := reason; a.filter := filter; a.requested := requested; a.changed := changed; a.ids := ids;
  a.before := before; a.after := after; a.result := result;
  a.hash := outbox.activity_hash(a);
  INSERT INTO outbox.activity SELECT a.*;
  PERFORM pg_notify('outbox', 'activity');
  RETURN a.id;
END $$;
-- +goose StatementEnd

-- release_next gives each of these keys its turn: its lowest row, if that one is blocked. Its ack releases the next ones.
-- +goose StatementBegin
CREATE FUNCTION outbox.release_next(topics text[], keys text[]) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  UPDATE outbox.message_held h SET due_at = now(), changed_at = now()
    FROM (SELECT DISTINCT u.topic, u.key FROM unnest(topics, keys) AS u(topic, key) WHERE u.key IS NOT NULL) k
    CROSS JOIN LATERAL (SELECT n.id FROM outbox.message_held n WHERE n.topic = k.topic AND n.key = k.key AND n.key IS NOT NULL AND n.state <> 'scheduled'
      AND NOT n.passed ORDER BY n.topic, n.key, n.id LIMIT 1) n
    WHERE h.id = n.id AND h.state = 'blocked' AND h.due_at IS NULL AND NOT h.sending AND NOT h.passed;
END $$;
-- +goose StatementEnd

-- People's acts: at most 500 ids a call, run in autocommit under statement_timeout 1 s. They lock their rows in id order, never touch a message that is being
-- sent, write the activity row in the same transaction and answer with exact numbers:
--   changed + sending + other + missing = requested
--   other = held in a state that the act does not apply to; missing = not held at all (pending, sent or unknown); unchanged = the ids of these three
-- 55P03 (busy) and 57014: nothing was changed, try again.

-- retry: a dead message is tried again now, with new attempts and a new age; behind another one of its key it waits as blocked. A retrying one is due
-- now. A discarded one comes back, outside the order of its key.
-- +goose StatementBegin
CREATE FUNCTION outbox.retry(ids bigint[], actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL,
    OUT activity_id bigint, OUT requested int, OUT changed int, OUT sending int, OUT other int, OUT missing int, OUT unchanged bigint[])
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  v_ids bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(retry.ids) AS i WHERE i IS NOT NULL ORDER BY i);
  v_changed bigint[];
  v_topics text[];
  v_keys text[];
  v_dead bigint[];
  v_discarded bigint[];
BEGIN
  requested := cardinality(v_ids);
  IF requested NOT BETWEEN 1 AND 500 THEN
    RAISE EXCEPTION 'outbox: retry takes 1 to 500 ids a call, got %', requested USING ERRCODE = '22023'; END IF;
  IF coalesce(retry.actor, '') = '' THEN
    RAISE EXCEPTION 'outbox: retry needs to know who does it' USING ERRCODE = '22023'; END IF;
  PERFORM FROM outbox.message_held h WHERE h.id = ANY (v_ids) ORDER BY h.id FOR UPDATE;
  SELECT coalesce(array_agg(h.id ORDER BY h.id), '{}'), coalesce(array_agg(h.id ORDER BY h.id) FILTER (WHERE h.state = 'dead'), '{}'),
      array_agg(h.topic), array_agg(h.key)
    INTO v_changed, v_dead, v_topics, v_keys
    FROM outbox.message_held h WHERE h.id = ANY (v_ids) AND NOT h.sending AND h.state IN ('dead', 'retrying');
  v_discarded := ARRAY(SELECT d.id FROM (SELECT d.id FROM outbox.message_discarded d WHERE d.id = ANY (v_ids) ORDER BY d.id FOR UPDATE) d
    WHERE EXISTS (SELECT FROM outbox.message_log m WHERE m.id = d.id)); -- not one whose message was dropped with its partition
  v_changed := v_changed || v_discarded;
  unchanged := ARRAY(SELECT i FROM unnest(v_ids) AS i WHERE i <> ALL (v_changed) ORDER BY i);
  changed := cardinality(v_changed);
  SELECT count(*) FILTER (WHERE h.sending), count(*) FILTER (WHERE NOT h.sending) INTO sending, other FROM outbox.message_held h WHERE h.id = ANY (unchanged);
  missing := cardinality(unchanged) - sending - other;
  activity_id := outbox.log_activity(retry.actor, retry.via, 'retry', NULL, retry.reason, requested, changed, v_changed,
    format('%s changed, %s being sent, %s neither dead nor retrying, %s not held', changed, sending, other, missing), address => retry.address);
  UPDATE outbox.message_held h SET due_at = now(), changed_at = now(), activity_id = retry.activity_id
    WHERE h.id = ANY (v_changed) AND h.state = 'retrying';
  BEGIN
    UPDATE outbox.message_held h SET changed_at = now(), activity_id = retry.activity_id, attempts = 0, first_failed_at = NULL,
        state = CASE WHEN s.waits THEN 'blocked' ELSE 'retrying' END, due_at = CASE WHEN NOT s.waits THEN now() END
      FROM (SELECT d.id, d.key IS NOT NULL AND NOT d.passed AND EXISTS (SELECT FROM outbox.message_held k WHERE k.topic = d.topic AND k.key = d.key
              AND k.key IS NOT NULL AND k.state <> 'scheduled' AND NOT k.passed AND k.id <> d.id AND (k.id < d.id OR k.state = 'retrying')) AS waits
            FROM outbox.message_held d WHERE d.id = ANY (v_dead)) s
      WHERE h.id = s.id;
  EXCEPTION WHEN unique_violation THEN -- the relay gave the key another head in this moment
    RAISE EXCEPTION 'outbox: busy: nothing was changed, try again' USING ERRCODE = '55P03';
  END;
  WITH d AS (DELETE FROM outbox.message_discarded d WHERE d.id = ANY (v_discarded) RETURNING d.*)
  INSERT INTO outbox.message_held (id, state, topic, key, due_at, passed, outcome, class, error_code, error, activity_id)
    SELECT d.id, 'retrying', m.topic, m.key, now(), true, d.outcome, d.class, d.error_code, d.error, retry.activity_id
    FROM d JOIN outbox.message_log m ON m.id = d.id;
  PERFORM outbox.release_next(v_topics, v_keys);
END $$;
-- +goose StatementEnd

-- skip: a dead message stays dead, its key goes on without it.
-- +goose StatementBegin
CREATE FUNCTION outbox.skip(ids bigint[], actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL,
    OUT activity_id bigint, OUT requested int, OUT changed int, OUT sending int, OUT other int, OUT missing int, OUT unchanged bigint[])
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  v_ids bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(skip.ids) AS i WHERE i IS NOT NULL ORDER BY i);
  v_changed bigint[];
  v_topics text[];
  v_keys text[];
BEGIN
  requested := cardinality(v_ids);
  IF requested NOT BETWEEN 1 AND 500 THEN
    RAISE EXCEPTION 'outbox: skip takes 1 to 500 ids a call, got %', requested USING ERRCODE = '22023'; END IF;
  IF coalesce(skip.actor, '') = '' THEN
    RAISE EXCEPTION 'outbox: skip needs to know who does it' USING ERRCODE = '22023'; END IF;
  PERFORM FROM outbox.message_held h WHERE h.id = ANY (v_ids) ORDER BY h.id FOR UPDATE;
  SELECT coalesce(array_agg(h.id ORDER BY h.id), '{}'), array_agg(h.topic), array_agg(h.key) INTO v_changed, v_topics, v_keys
    FROM outbox.message_held h WHERE h.id = ANY (v_ids) AND NOT h.sending AND h.state = 'dead' AND h.key IS NOT NULL AND NOT h.passed;
  unchanged := ARRAY(SELECT i FROM unnest(v_ids) AS i WHERE i <> ALL (v_changed) ORDER BY i);
  changed := cardinality(v_changed);
  SELECT count(*) FILTER (WHERE h.sending), count(*) FILTER (WHERE NOT h.sending) INTO sending, other FROM outbox.message_held h WHERE h.id = ANY (unchanged);
  missing := cardinality(unchanged) - sending - other;
  activity_id := outbox.log_activity(skip.actor, skip.via, 'skip', NULL, skip.reason, requested, changed, v_changed,
    format('%s changed, %s being sent, %s not dead or skipped before, %s not held', changed, sending, other, missing), address => skip.address);
  UPDATE outbox.message_held h SET passed = true, changed_at = now(), activity_id = skip.activity_id WHERE h.id = ANY (v_changed);
  PERFORM outbox.release_next(v_topics, v_keys);
END $$;
-- +goose StatementEnd

-- discard: a held message is given up for good; its last error stays in message_discarded.
-- +goose StatementBegin
CREATE FUNCTION outbox.discard(ids bigint[], actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL,
    OUT activity_id bigint, OUT requested int, OUT changed int, OUT sending int, OUT other int, OUT missing int, OUT unchanged bigint[])
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  v_ids bigint[] := ARRAY(SELECT DISTINCT i FROM unnest(discard.ids) AS i WHERE i IS NOT NULL ORDER BY i);
  v_changed bigint[];
  v_topics text[];
  v_keys text[];
BEGIN
  requested := cardinality(v_ids);
  IF requested NOT BETWEEN 1 AND 500 THEN
    RAISE EXCEPTION 'outbox: discard takes 1 to 500 ids a call, got %', requested USING ERRCODE = '22023'; END IF;
  IF coalesce(discard.actor, '') = '' THEN
    RAISE EXCEPTION 'outbox: discard needs to know who does it' USING ERRCODE = '22023'; END IF;
  IF btrim(coalesce(discard.reason, '')) = '' THEN
    RAISE EXCEPTION 'outbox: discard needs a reason' USING ERRCODE = '22023'; END IF;
  PERFORM FROM outbox.message_held h WHERE h.id = ANY (v_ids) ORDER BY h.id FOR UPDATE;
  SELECT coalesce(array_agg(h.id ORDER BY h.id), '{}'), array_agg(h.topic), array_agg(h.key) INTO v_changed, v_topics, v_keys
    FROM outbox.message_held h WHERE h.id = ANY (v_ids) AND NOT h.sending;
  unchanged := ARRAY(SELECT i FROM unnest(v_ids) AS i WHERE i <> ALL (v_changed) ORDER BY i);
  changed := cardinality(v_changed);
  SELECT count(*) FILTER (WHERE h.sending), count(*) FILTER (WHERE NOT h.sending) INTO sending, other FROM outbox.message_held h WHERE h.id = ANY (unchanged);
  missing := cardinality(unchanged) - sending - other;
  activity_id := outbox.log_activity(discard.actor, discard.via, 'discard', NULL, discard.reason, requested, changed, v_changed,
    format('%s changed, %s being sent, %s in another state, %s not held', changed, sending, other, missing), address => discard.address);
  WITH d AS (DELETE FROM outbox.message_held h WHERE h.id = ANY (v_changed) RETURNING h.*)
  INSERT INTO outbox.message_discarded (id, activity_id, attempts, outcome, class, error_code, error)
    SELECT d.id, discard.activity_id, d.attempts, d.outcome, d.class, d.error_code, d.error FROM d;
  PERFORM outbox.release_next(v_topics, v_keys);
END $$;
-- +goose StatementEnd

-- adopt: from now on the name of this destination stands for that cluster. Null = the name was never used here.
-- +goose StatementBegin
CREATE FUNCTION outbox.adopt(destination text, cluster_id text, actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  v_before text;
  v_activity bigint;
BEGIN
  IF coalesce(adopt.actor, '') = '' OR coalesce(adopt.cluster_id, '') = '' OR btrim(coalesce(adopt.reason, '')) = '' THEN
    RAISE EXCEPTION 'outbox: adopt needs a cluster, a reason, and to know who does it' USING ERRCODE = '22023'; END IF;
  SELECT d.cluster_id INTO v_before FROM outbox.destination d WHERE d.name = adopt.destination FOR UPDATE;
  IF NOT FOUND THEN RETURN NULL; END IF;
  v_activity := outbox.log_activity(adopt.actor, adopt.via, 'adopt', 'destination ' || adopt.destination, adopt.reason, 1, (v_before <> adopt.cluster_id)::int,
    before => jsonb_build_object('cluster_id', v_before), after => jsonb_build_object('cluster_id', adopt.cluster_id), address => adopt.address);
  UPDATE outbox.destination d SET cluster_id = adopt.cluster_id, adopted_at = now(), activity_id = v_activity WHERE d.name = adopt.destination;
  RETURN v_activity;
END $$;
-- +goose StatementEnd

-- adopt_database: this server is where the outbox lives now. moved: with everything that the original wrote, which is gone; the message ids stay. copied: beside
-- the original; what this copy has not claimed gets message ids of its own, and discarded says what became of its unsent messages. For the owner's role only.
-- +goose StatementBegin
CREATE FUNCTION outbox.adopt_database(copied boolean, discard_unsent boolean, actor text, reason text,
    OUT activity_id bigint, OUT outbox_id uuid, OUT from_id bigint, OUT discarded bigint)
  LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v_here record;
  v_was record;
  v_claimed bigint;
  v_last bigint;
  v_what text := CASE WHEN copied THEN 'copied' ELSE 'moved' END;
BEGIN
  IF coalesce(adopt_database.actor, '') = '' OR btrim(coalesce(adopt_database.reason, '')) = '' THEN
    RAISE EXCEPTION 'outbox: adopting needs a reason, and to know who does it' USING ERRCODE = '22023'; END IF;
  PERFORM FROM outbox.owner FOR UPDATE;
  SELECT h.* INTO v_here FROM outbox.here() h;
  SELECT g.* INTO v_was FROM outbox.generations g ORDER BY g.from_id DESC LIMIT 1;
  IF v_was.system_identifier = v_here.system_identifier AND v_was.database_oid = v_here.database_oid THEN
    RAISE EXCEPTION 'outbox: it was written on this server and in this database: there is nothing to adopt' USING ERRCODE = '55000'; END IF;
  SELECT c.last_value INTO v_claimed FROM outbox.claimed c;
  discarded := CASE WHEN discard_unsent THEN (SELECT count(*) FROM outbox.message_pending) + (SELECT count(*) FROM outbox.message_held) ELSE 0 END;
  activity_id := outbox.log_activity(adopt_database.actor, 'cli', 'adopt', 'database, ' || v_what, adopt_database.reason, discarded::int, discarded::int,
    before => jsonb_build_object('system_identifier', v_was.system_identifier::text, 'database_oid', v_was.database_oid::bigint),
    after => jsonb_build_object('system_identifier', v_here.system_identifier::text, 'database_oid', v_here.database_oid::bigint));
  IF copied THEN
    INSERT INTO outbox.generations AS g (from_id, system_identifier, timeline, database_oid, reason)
      VALUES (v_claimed + 1, v_here.system_identifier, v_here.timeline, v_here.database_oid, v_what || ': ' || adopt_database.reason)
      ON CONFLICT (from_id) DO UPDATE SET outbox_id = gen_random_uuid(), system_identifier = excluded.system_identifier, timeline = excluded.timeline,
        database_oid = excluded.database_oid, reason = excluded.reason, started_at = now();
  ELSE
    UPDATE outbox.generations g SET system_identifier = v_here.system_identifier, timeline = v_here.timeline, database_oid = v_here.database_oid,
      reason = v_what || ': ' || adopt_database.reason WHERE g.from_id = v_was.from_id;
  END IF;
  SELECT g.outbox_id, g.from_id INTO outbox_id, from_id FROM outbox.generations g ORDER BY g.from_id DESC LIMIT 1;
  UPDATE outbox.owner o SET epoch = o.epoch + 1000000, low_water = least(o.low_water, v_claimed); -- above what the original granted since
  SELECT max(m.id) INTO v_last FROM outbox.message_log m;
  PERFORM setval('outbox.message_id_seq', v_last) FROM outbox.message_id_seq s WHERE v_last > s.last_value; -- logical replication copies no sequence
  DELETE FROM outbox.relay;
  IF discard_unsent THEN
    WITH p AS (DELETE FROM outbox.message_pending RETURNING id), h AS (DELETE FROM outbox.message_held RETURNING *)
    INSERT INTO outbox.message_discarded (id, activity_id, attempts, outcome, class, error_code, error)
      SELECT p.id, adopt_database.activity_id, 0, NULL, NULL, NULL, NULL FROM p
      UNION ALL SELECT h.id, adopt_database.activity_id, h.attempts, h.outcome, h.class, h.error_code, h.error FROM h;
  END IF;
END $$;
-- +goose StatementEnd

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
DROP FUNCTION outbox.adopt_database(boolean, boolean, text, text), outbox.adopt(text, text, text, text, text, text);
DROP FUNCTION outbox.discard(bigint[], text, text, text, text), outbox.skip(bigint[], text, text, text, text),
  outbox.retry(bigint[], text, text, text, text);
DROP FUNCTION outbox.release_next(text[], text[]);
DROP FUNCTION outbox.log_activity(text, text, text, text, text, int, int, bigint[], text, jsonb, jsonb, jsonb, bigint, text);
DROP FUNCTION outbox.activity_hash(outbox.activity);
