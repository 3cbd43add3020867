-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- What people plan to do to many messages at once. A plan fixes and counts its messages, and nothing has happened yet; the owner runs what was started.
CREATE TABLE outbox.operation (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  action text COLLATE "C" NOT NULL CHECK (action IN ('retry', 'skip', 'discard')),
  filter text NOT NULL, -- as the person wrote it
  state text COLLATE "C" NOT NULL DEFAULT 'planning' CHECK (state IN ('planning', 'planned', 'running', 'paused', 'stopped', 'done', 'expired')),
  cause text, -- why it ended before its last message
  actor text NOT NULL,
  via text NOT NULL CHECK (via IN ('ui', 'cli', 'api', 'auto')),
  reason text,
  careful boolean NOT NULL DEFAULT true, -- 10 messages, then 100, then the rest
  rate int CHECK (rate > 0), -- messages a second; null = no limit
  stop_at double precision NOT NULL DEFAULT 0.05 CHECK (stop_at BETWEEN 0 AND 1), -- above this share of a step that fails again it stops by itself
  planned_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL DEFAULT now() + interval '10 min', -- of a plan that nobody starts
  started_at timestamptz,
  ended_at timestamptz,
  total int NOT NULL DEFAULT 0, -- messages of the plan
  left_out int NOT NULL DEFAULT 0, -- that match, and that the act does not apply to
  position bigint NOT NULL DEFAULT 0, -- the highest id that was acted on
  handled int NOT NULL DEFAULT 0, -- up to there
  step int NOT NULL DEFAULT 0,
  step_handled int NOT NULL DEFAULT 0,
  step_judged int NOT NULL DEFAULT 0, -- of those, with an outcome
  step_sent int NOT NULL DEFAULT 0,
  step_failed int NOT NULL DEFAULT 0,
  sent int NOT NULL DEFAULT 0,
  failed_again int NOT NULL DEFAULT 0,
  waits int NOT NULL DEFAULT 0,
  acted int NOT NULL DEFAULT 0, -- skipped or discarded
  changed int NOT NULL DEFAULT 0,
  summary jsonb NOT NULL DEFAULT '{}');
CREATE TABLE outbox.operation_item (
  operation_id bigint NOT NULL REFERENCES outbox.operation (id),
  id bigint NOT NULL, -- of the message
  state text COLLATE "C" NOT NULL, -- when it was planned
  step int,
  attempts int, -- right after the act: more of them mean that it failed again
  outcome text COLLATE "C" CHECK (outcome IN ('sent', 'failed_again', 'waits', 'skipped', 'discarded', 'changed')),
  PRIMARY KEY (operation_id, id));
CREATE INDEX operation_item_open ON outbox.operation_item (operation_id, id) WHERE step IS NOT NULL AND outcome IS NULL;
CREATE INDEX operation_item_outcome ON outbox.operation_item (operation_id, outcome, id) WHERE outcome IS NOT NULL;

-- What a step does is written down with the operation that it belongs to: operation_step says which one for its transaction.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox.log_activity(actor text, via text, action text, target text DEFAULT NULL, reason text DEFAULT NULL, requested int DEFAULT 0,
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
  a.operation_id := coalesce(operation_id, nullif(current_setting('outbox.operation', true), '')::bigint); a.reason := reason; a.filter := filter; a.requested := requested; a.changed := changed; a.ids := ids;
  a.before := before; a.after := after; a.result := result;
  a.hash := outbox.activity_hash(a);
  INSERT INTO outbox.activity SELECT a.*;
  PERFORM pg_notify('outbox', 'activity');
  RETURN a.id;
END $$;
-- +goose StatementEnd

-- Planning: plan, then plan_items as often as it takes, then plan_ready. No row of message_held is locked.
-- +goose StatementBegin
CREATE FUNCTION outbox.plan(action text, filter text, actor text, via text DEFAULT 'cli') RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  v_id bigint;
BEGIN
  IF coalesce(actor, '') = '' THEN
    RAISE EXCEPTION 'outbox: a plan needs to know who makes it' USING ERRCODE = '22023'; END IF;
  IF (SELECT coalesce(sum(greatest(o.total, 1)), 0) FROM outbox.operation o WHERE o.state IN ('planning', 'planned', 'running', 'paused')
      AND (o.started_at IS NOT NULL OR o.expires_at > now())) >= 2000000 THEN
    RAISE EXCEPTION 'outbox: plans and operations hold 2,000,000 messages already; start or stop some first' USING ERRCODE = '54000'; END IF;
  INSERT INTO outbox.operation (action, filter, actor, via) VALUES (action, left(filter, 5000), actor, via) RETURNING id INTO v_id;
  RETURN v_id;
END $$;
-- +goose StatementEnd

-- plan_items adds those of the messages that the act applies to as they are now, and counts the others.
-- +goose StatementBegin
CREATE FUNCTION outbox.plan_items(operation bigint, ids bigint[]) RETURNS int
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  o outbox.operation;
  v_n int;
BEGIN
  SELECT * INTO o FROM outbox.operation p WHERE p.id = plan_items.operation FOR UPDATE;
  IF NOT FOUND OR o.state <> 'planning' THEN
    RAISE EXCEPTION 'outbox: operation % is not being planned', plan_items.operation USING ERRCODE = '55000'; END IF;
  IF cardinality(plan_items.ids) > 10000 THEN
    RAISE EXCEPTION 'outbox: plan_items takes up to 10000 ids a call' USING ERRCODE = '22023'; END IF;
  INSERT INTO outbox.operation_item (operation_id, id, state)
    SELECT o.id, h.id, h.state FROM outbox.message_held h WHERE h.id = ANY (plan_items.ids) AND NOT h.sending AND CASE o.action
      WHEN 'retry' THEN h.state IN ('dead', 'retrying') WHEN 'skip' THEN h.state = 'dead' AND h.key IS NOT NULL AND NOT h.passed ELSE true END
    UNION ALL SELECT o.id, d.id, 'discarded' FROM outbox.message_discarded d WHERE d.id = ANY (plan_items.ids) AND o.action = 'retry'
      AND EXISTS (SELECT FROM outbox.message_log m WHERE m.id = d.id)
    ON CONFLICT DO NOTHING;
  GET DIAGNOSTICS v_n = ROW_COUNT;
  IF o.total + v_n > 1000000 THEN
    RAISE EXCEPTION 'outbox: more than 1,000,000 messages match; narrow the filter' USING ERRCODE = '54000'; END IF;
  UPDATE outbox.operation p SET total = p.total + v_n, left_out = p.left_out + cardinality(plan_items.ids) - v_n,
    expires_at = now() + interval '10 min' WHERE p.id = o.id;
  RETURN v_n;
END $$;
-- +goose StatementEnd

-- plan_ready counts what the plan would do. From here on it can be started, for ten minutes.
-- +goose StatementBegin
CREATE FUNCTION outbox.plan_ready(operation bigint, address text DEFAULT NULL) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  o outbox.operation;
  v_summary jsonb;
BEGIN
  SELECT * INTO o FROM outbox.operation p WHERE p.id = plan_ready.operation FOR UPDATE;
  IF NOT FOUND OR o.state <> 'planning' THEN
    RAISE EXCEPTION 'outbox: operation % is not being planned', plan_ready.operation USING ERRCODE = '55000'; END IF;
  WITH i AS MATERIALIZED (SELECT i.id, i.state, coalesce(h.destination, '') AS destination, coalesce(h.class, d.class, '') AS class, h.fingerprint,
      left(coalesce(h.error, d.error, ''), 200) AS error, coalesce(h.outcome, d.outcome) AS outcome, h.topic, h.key,
      h.key IS NOT NULL AND NOT h.passed AND h.state <> 'scheduled' AS closes
    FROM outbox.operation_item i LEFT JOIN outbox.message_held h ON h.id = i.id LEFT JOIN outbox.message_discarded d ON d.id = i.id
    WHERE i.operation_id = o.id),
  k AS MATERIALIZED (SELECT DISTINCT i.topic, i.key FROM i WHERE i.closes),
  g AS (SELECT i.destination, i.class, i.fingerprint, count(*) AS n, min(i.error) AS error FROM i GROUP BY 1, 2, 3 ORDER BY n DESC, 1, 2, 3)
  SELECT jsonb_build_object(
    'states', (SELECT jsonb_object_agg(s.state, s.n) FROM (SELECT i.state, count(*) AS n FROM i GROUP BY 1) s),
    'destinations', (SELECT jsonb_agg(jsonb_build_object('name', s.destination, 'count', s.n)) FROM
      (SELECT i.destination, count(*) AS n FROM i GROUP BY 1 ORDER BY n DESC, 1 LIMIT 50) s),
    'failures', (SELECT jsonb_agg(jsonb_build_object('destination', s.destination, 'class', s.class, 'failure', coalesce(lpad(to_hex(s.fingerprint), 16, '0'), ''),
      'error', s.error, 'count', s.n)) FROM (SELECT * FROM g LIMIT 20) s),
    'causes', (SELECT count(*) FROM g),
    'keys', (SELECT count(*) FROM k),
    'behind', (SELECT count(*) FROM outbox.message_held h JOIN k ON k.topic = h.topic AND k.key = h.key
      WHERE h.state = 'blocked' AND NOT h.passed AND NOT EXISTS (SELECT FROM outbox.operation_item x WHERE x.operation_id = o.id AND x.id = h.id)),
    'unknown', (SELECT count(*) FROM i WHERE i.outcome = 'unknown')) INTO v_summary;
  UPDATE outbox.operation p SET state = 'planned', summary = v_summary, expires_at = now() + interval '10 min' WHERE p.id = o.id;
  PERFORM outbox.log_activity(o.actor, o.via, 'plan', 'operation ' || o.id, NULL, o.total, 0, operation_id => o.id, address => plan_ready.address,
    filter => jsonb_build_object('action', o.action, 'filter', o.filter), result => format('%s to %s, %s left out', o.total, o.action, o.left_out));
END $$;
-- +goose StatementEnd

-- start: from now on the owner works on it.
-- +goose StatementBegin
CREATE FUNCTION outbox.start(operation bigint, actor text, reason text, careful boolean, rate int, stop_at double precision, via text DEFAULT 'cli', address text DEFAULT NULL)
  RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  o outbox.operation;
BEGIN
  IF coalesce(start.actor, '') = '' THEN
    RAISE EXCEPTION 'outbox: start needs to know who does it' USING ERRCODE = '22023'; END IF;
  SELECT * INTO o FROM outbox.operation p WHERE p.id = start.operation FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'outbox: there is no operation %', start.operation USING ERRCODE = 'P0002'; END IF;
  IF o.state = 'planned' AND o.expires_at <= now() THEN
    RAISE EXCEPTION 'outbox: plan % has expired; make it anew', o.id USING ERRCODE = '55000'; END IF;
  IF o.state <> 'planned' THEN
    RAISE EXCEPTION 'outbox: operation % is %, only a plan can be started', o.id, o.state USING ERRCODE = '55000'; END IF;
  IF o.action <> 'retry' AND btrim(coalesce(start.reason, '')) = '' THEN
    RAISE EXCEPTION 'outbox: % needs a reason', o.action USING ERRCODE = '22023'; END IF;
  UPDATE outbox.operation p SET state = 'running', started_at = now(), actor = start.actor, via = start.via, reason = start.reason, careful = start.careful,
    rate = start.rate, stop_at = start.stop_at WHERE p.id = o.id;
  PERFORM outbox.log_activity(start.actor, start.via, 'start', 'operation ' || o.id, start.reason, o.total, 0, operation_id => o.id, address => start.address,
    filter => jsonb_build_object('action', o.action, 'filter', o.filter), after => jsonb_build_object('careful', start.careful, 'rate', start.rate, 'stop_at', start.stop_at),
    result => format('%s messages to %s', o.total, o.action));
END $$;
-- +goose StatementEnd

-- steer pauses, resumes or stops an operation between two of its transactions. What was done stays done.
-- +goose StatementBegin
CREATE FUNCTION outbox.steer(operation bigint, verb text, actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL)
  RETURNS void LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  o outbox.operation;
BEGIN
  IF coalesce(steer.actor, '') = '' OR steer.verb NOT IN ('pause', 'resume', 'stop') THEN
    RAISE EXCEPTION 'outbox: pause, resume or stop, and who does it' USING ERRCODE = '22023'; END IF;
  SELECT * INTO o FROM outbox.operation p WHERE p.id = steer.operation FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'outbox: there is no operation %', steer.operation USING ERRCODE = 'P0002'; END IF;
  IF NOT (CASE steer.verb WHEN 'pause' THEN o.state = 'running' WHEN 'resume' THEN o.state = 'paused'
      ELSE o.state IN ('planning', 'planned', 'running', 'paused') END) THEN
    RAISE EXCEPTION 'outbox: operation % is %, % does not apply', o.id, o.state, steer.verb USING ERRCODE = '55000'; END IF;
  UPDATE outbox.operation p SET state = CASE steer.verb WHEN 'pause' THEN 'paused' WHEN 'resume' THEN 'running' ELSE 'stopped' END,
    cause = CASE steer.verb WHEN 'stop' THEN 'stopped by ' || steer.actor END, ended_at = CASE steer.verb WHEN 'stop' THEN now() END WHERE p.id = o.id;
  PERFORM outbox.log_activity(steer.actor, steer.via, steer.verb, 'operation ' || o.id, steer.reason, o.total, o.handled - o.changed, operation_id => o.id,
    address => steer.address, result => format('after %s of %s messages', o.handled, o.total));
END $$;
-- +goose StatementEnd

-- operation_step acts on the next messages of a running operation, at most 500, in one transaction with its place and its row in the activity log; null = it
-- does not run. Two relays that believe to be the owner do nothing twice, nor go further than was decided: the row of the operation is locked, its place moves
-- with the act, and who has not seen where it stands does nothing.
-- +goose StatementBegin
CREATE FUNCTION outbox.operation_step(operation bigint, step int, most int, handled int) RETURNS int
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' SET enable_seqscan = off SET enable_hashjoin = off
  SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
  o outbox.operation;
  v_ids bigint[];
  v_same bigint[];
  v_unchanged bigint[];
  v_changed int;
BEGIN
  SELECT * INTO o FROM outbox.operation p WHERE p.id = operation_step.operation FOR UPDATE;
  IF NOT FOUND OR o.state <> 'running' THEN RETURN NULL; END IF;
  IF o.handled <> operation_step.handled THEN RETURN 0; END IF;
  v_ids := ARRAY(SELECT i.id FROM outbox.operation_item i WHERE i.operation_id = o.id AND i.id > o.position ORDER BY i.id LIMIT least(operation_step.most, 500));
  IF v_ids = '{}' THEN RETURN 0; END IF;
  v_same := ARRAY(SELECT h.id FROM outbox.message_held h JOIN outbox.operation_item i ON i.operation_id = o.id AND i.id = h.id
      WHERE h.id = ANY (v_ids) AND h.state = i.state
    UNION ALL SELECT d.id FROM outbox.message_discarded d JOIN outbox.operation_item i ON i.operation_id = o.id AND i.id = d.id
      WHERE d.id = ANY (v_ids) AND i.state = 'discarded');
  v_unchanged := '{}';
  IF v_same <> '{}' THEN
    PERFORM set_config('outbox.operation', o.id::text, true);
    CASE o.action
      WHEN 'retry' THEN SELECT a.unchanged INTO v_unchanged FROM outbox.retry(v_same, o.actor, o.reason, o.via) a;
      WHEN 'skip' THEN SELECT a.unchanged INTO v_unchanged FROM outbox.skip(v_same, o.actor, o.reason, o.via) a;
      ELSE SELECT a.unchanged INTO v_unchanged FROM outbox.discard(v_same, o.actor, o.reason, o.via) a;
    END CASE;
  END IF;
  UPDATE outbox.operation_item i SET step = operation_step.step,
    attempts = (SELECT h.attempts FROM outbox.message_held h WHERE h.id = i.id),
    outcome = CASE WHEN i.id <> ALL (v_same) OR i.id = ANY (v_unchanged) THEN 'changed' WHEN o.action = 'skip' THEN 'skipped' WHEN o.action = 'discard' THEN 'discarded' END
    WHERE i.operation_id = o.id AND i.id = ANY (v_ids);
  v_changed := cardinality(v_ids) - cardinality(v_same) + cardinality(v_unchanged);
  UPDATE outbox.operation p SET position = v_ids[cardinality(v_ids)], handled = p.handled + cardinality(v_ids), changed = p.changed + v_changed,
    acted = p.acted + CASE o.action WHEN 'retry' THEN 0 ELSE cardinality(v_ids) - v_changed END, step = operation_step.step,
    step_handled = CASE WHEN o.step = operation_step.step THEN p.step_handled ELSE 0 END + cardinality(v_ids),
    step_judged = CASE WHEN o.step = operation_step.step THEN p.step_judged ELSE 0 END + CASE o.action WHEN 'retry' THEN v_changed ELSE cardinality(v_ids) END,
    step_sent = CASE WHEN o.step = operation_step.step THEN p.step_sent ELSE 0 END,
    step_failed = CASE WHEN o.step = operation_step.step THEN p.step_failed ELSE 0 END
    WHERE p.id = o.id;
  RETURN cardinality(v_ids);
END $$;
-- +goose StatementEnd

-- operation_judge looks at what became of the messages that were retried: their first outcome counts, later retries go on without it.
-- +goose StatementBegin
CREATE FUNCTION outbox.operation_judge(operation bigint) RETURNS int
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' SET enable_seqscan = off SET enable_hashjoin = off
  SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
  v_n int;
BEGIN
  PERFORM FROM outbox.operation p WHERE p.id = operation_judge.operation AND p.started_at IS NOT NULL FOR UPDATE;
  IF NOT FOUND THEN RETURN 0; END IF;
  WITH open AS MATERIALIZED (SELECT i.id, i.attempts FROM outbox.operation_item i WHERE i.operation_id = operation_judge.operation AND i.step IS NOT NULL
      AND i.outcome IS NULL ORDER BY i.id LIMIT 5000),
  judged AS MATERIALIZED (SELECT open.id, CASE
      WHEN h.id IS NULL AND EXISTS (SELECT FROM outbox.message_discarded d WHERE d.id = open.id) THEN 'changed'
      WHEN h.id IS NULL THEN 'sent'
      WHEN h.sending THEN NULL
      WHEN h.state = 'dead' OR h.state = 'retrying' AND h.attempts > open.attempts THEN 'failed_again'
      WHEN h.state = 'blocked' AND (SELECT k.state = 'dead' OR k.state = 'retrying' AND k.attempts > 0 AND k.due_at > now()
        FROM outbox.message_held k WHERE k.topic = h.topic AND k.key = h.key AND k.key IS NOT NULL AND k.state <> 'scheduled' AND NOT k.passed
        ORDER BY k.topic, k.key, k.id LIMIT 1) THEN 'waits' END AS outcome
    FROM open LEFT JOIN outbox.message_held h ON h.id = open.id),
  w AS (UPDATE outbox.operation_item i SET outcome = j.outcome FROM judged j WHERE i.operation_id = operation_judge.operation AND i.id = j.id AND j.outcome IS NOT NULL
    RETURNING i.outcome),
  n AS (SELECT count(*) AS judged, count(*) FILTER (WHERE outcome = 'sent') AS sent, count(*) FILTER (WHERE outcome = 'failed_again') AS failed,
      count(*) FILTER (WHERE outcome = 'waits') AS waits, count(*) FILTER (WHERE outcome = 'changed') AS changed FROM w)
  UPDATE outbox.operation p SET step_judged = p.step_judged + n.judged, step_sent = p.step_sent + n.sent, step_failed = p.step_failed + n.failed,
    sent = p.sent + n.sent, failed_again = p.failed_again + n.failed, waits = p.waits + n.waits, changed = p.changed + n.changed
    FROM n WHERE p.id = operation_judge.operation AND n.judged > 0 RETURNING n.judged INTO v_n;
  RETURN coalesce(v_n, 0);
END $$;
-- +goose StatementEnd

-- operation_end is for the owner: all is done, or too much failed again.
-- +goose StatementBegin
CREATE FUNCTION outbox.operation_end(operation bigint, state text, cause text) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  o outbox.operation;
BEGIN
  IF operation_end.state NOT IN ('done', 'stopped') THEN
    RAISE EXCEPTION 'outbox: an operation ends as done or stopped' USING ERRCODE = '22023'; END IF;
  SELECT * INTO o FROM outbox.operation p WHERE p.id = operation_end.operation AND p.state = 'running' FOR UPDATE;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE outbox.operation p SET state = operation_end.state, cause = operation_end.cause, ended_at = now() WHERE p.id = o.id;
  PERFORM outbox.log_activity('waybill', 'auto', CASE operation_end.state WHEN 'done' THEN 'done' ELSE 'stop' END, 'operation ' || o.id, operation_end.cause, o.total,
    o.handled - o.changed, operation_id => o.id, result => format('%s of %s: %s sent, %s failed again, %s wait, %s done, %s had changed', o.handled, o.total, o.sent,
    o.failed_again, o.waits, o.acted, o.changed));
END $$;
-- +goose StatementEnd

-- operation_sweep expires plans, and deletes at most `most` items of plans that never ran or of operations that ended longer ago than keep. It answers how
-- many it deleted.
-- +goose StatementBegin
CREATE FUNCTION outbox.operation_sweep(keep interval, most int) RETURNS int
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v_n int;
BEGIN
  UPDATE outbox.operation o SET state = 'expired', ended_at = now() WHERE o.state IN ('planning', 'planned') AND o.expires_at < now();
  DELETE FROM outbox.operation_item i WHERE i.ctid = ANY (ARRAY(SELECT x.ctid FROM outbox.operation_item x
    WHERE x.operation_id = ANY (ARRAY(SELECT o.id FROM outbox.operation o WHERE o.ended_at IS NOT NULL
      AND (o.started_at IS NULL OR o.ended_at < now() - operation_sweep.keep))) LIMIT operation_sweep.most));
  GET DIAGNOSTICS v_n = ROW_COUNT;
  DELETE FROM outbox.operation o WHERE o.ended_at < now() - operation_sweep.keep AND NOT EXISTS (SELECT FROM outbox.operation_item i WHERE i.operation_id = o.id);
  RETURN v_n;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION outbox.plan(text, text, text, text), outbox.plan_items(bigint, bigint[]), outbox.plan_ready(bigint, text),
  outbox.start(bigint, text, text, boolean, int, double precision, text, text), outbox.steer(bigint, text, text, text, text, text), outbox.operation_step(bigint, int, int, int),
  outbox.operation_judge(bigint), outbox.operation_end(bigint, text, text), outbox.operation_sweep(interval, int) FROM PUBLIC;
GRANT SELECT ON outbox.operation, outbox.operation_item TO outbox_relay, outbox_viewer;
GRANT EXECUTE ON FUNCTION outbox.plan(text, text, text, text), outbox.plan_items(bigint, bigint[]), outbox.plan_ready(bigint, text),
  outbox.start(bigint, text, text, boolean, int, double precision, text, text), outbox.steer(bigint, text, text, text, text, text) TO outbox_operator;
GRANT EXECUTE ON FUNCTION outbox.operation_step(bigint, int, int, int), outbox.operation_judge(bigint), outbox.operation_end(bigint, text, text),
  outbox.operation_sweep(interval, int) TO outbox_relay;

CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 8; -- the number of the newest migration

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
CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 7;
DROP FUNCTION outbox.operation_sweep(interval, int), outbox.operation_end(bigint, text, text), outbox.operation_judge(bigint), outbox.operation_step(bigint, int, int, int),
  outbox.steer(bigint, text, text, text, text, text), outbox.start(bigint, text, text, boolean, int, double precision, text, text), outbox.plan_ready(bigint, text),
  outbox.plan_items(bigint, bigint[]), outbox.plan(text, text, text, text);
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox.log_activity(actor text, via text, action text, target text DEFAULT NULL, reason text DEFAULT NULL, requested int DEFAULT 0,
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
DROP TABLE outbox.operation_item, outbox.operation;
