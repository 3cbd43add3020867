-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- What message_held_key leaves out, so that whoever asks for a key finds all of it. A message that waits for its key is in that one, and writes nothing here.
CREATE INDEX message_held_aside ON outbox.message_held (topic, key, id) WHERE key IS NOT NULL AND (state = 'scheduled' OR passed);

-- A refusal says until when it is paused, and what to do for another end.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox.pause_until(destination text, actor text, reason text, until timestamptz, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  v_what text := CASE pause_until.destination WHEN '' THEN 'all destinations' ELSE 'destination ' || pause_until.destination END;
  v_now outbox.pause;
  v_activity bigint;
BEGIN
  IF pause_until.destination IS NULL OR coalesce(pause_until.actor, '') = '' OR btrim(coalesce(pause_until.reason, '')) = '' THEN
    RAISE EXCEPTION 'outbox: pause needs to know what, who does it and why' USING ERRCODE = '22023'; END IF;
  IF pause_until.until <= clock_timestamp() OR pause_until.until >= '10000-01-01 00:00:00+00' THEN
    RAISE EXCEPTION 'outbox: the end of the pause is over already, or never comes; it is now %', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
      USING ERRCODE = '55000'; END IF;
  PERFORM outbox.end_pauses();
  v_activity := outbox.log_activity(pause_until.actor, pause_until.via, 'pause', v_what, pause_until.reason, 1, 1, address => pause_until.address,
    after => CASE WHEN pause_until.until IS NOT NULL THEN jsonb_build_object('until', pause_until.until) END,
    result => 'until ' || to_char(pause_until.until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')); -- its lock lets one at a time in
  SELECT * INTO v_now FROM outbox.pause p WHERE p.destination = pause_until.destination;
  IF FOUND THEN
    RAISE EXCEPTION 'outbox: % paused already, by % since %, because: % (for another end or reason, resume first, then pause again)',
      CASE pause_until.destination WHEN '' THEN 'all destinations are' ELSE pause_until.destination || ' is' END,
      v_now.actor, to_char(v_now.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') ||
      coalesce(' until ' || to_char(v_now.until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''), v_now.reason USING ERRCODE = '55000'; END IF;
  INSERT INTO outbox.pause (destination, actor, reason, activity_id, until) VALUES (pause_until.destination, pause_until.actor, pause_until.reason, v_activity, pause_until.until);
  RETURN v_activity;
END $$;
-- +goose StatementEnd

-- resume knows a pause that is over and was not taken back yet: there is nothing left to resume.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox.resume(destination text, actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  v_what text := CASE resume.destination WHEN '' THEN 'all destinations' ELSE 'destination ' || resume.destination END;
  v_was outbox.pause;
BEGIN
  IF resume.destination IS NULL OR coalesce(resume.actor, '') = '' THEN
    RAISE EXCEPTION 'outbox: resume needs to know what, and who does it' USING ERRCODE = '22023'; END IF;
  PERFORM FROM outbox.pause p WHERE p.destination = resume.destination OR p.until <= clock_timestamp() ORDER BY p.destination FOR UPDATE; -- in one order, before the log's lock
  SELECT p.* INTO v_was FROM outbox.pause p WHERE p.destination = resume.destination AND p.until <= clock_timestamp();
  IF FOUND THEN
    RAISE EXCEPTION 'outbox: the pause of % by % is over since %, there is nothing to resume%', CASE resume.destination WHEN '' THEN 'all destinations' ELSE resume.destination END,
      v_was.actor, to_char(v_was.until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
      CASE WHEN EXISTS (SELECT FROM outbox.pause p WHERE p.destination = '' AND resume.destination <> '' AND (p.until IS NULL OR p.until > clock_timestamp()))
      THEN '; all destinations are paused by one act, resume all' ELSE '' END USING ERRCODE = '55000'; END IF;
  PERFORM outbox.end_pauses(); -- so that none of those is named below
  DELETE FROM outbox.pause p WHERE p.destination = resume.destination RETURNING p.* INTO v_was;
  IF NOT FOUND THEN
    IF resume.destination = '' THEN
      RAISE EXCEPTION 'outbox: there is no pause of all destinations%', coalesce((SELECT '; paused by themselves: ' || string_agg(p.destination, ', ' ORDER BY p.destination)
        FROM outbox.pause p), '') USING ERRCODE = '55000'; END IF;
    RAISE EXCEPTION 'outbox: % is not paused by itself%', resume.destination, CASE WHEN EXISTS (SELECT FROM outbox.pause p WHERE p.destination = '')
      THEN '; all destinations are paused by one act, resume all' ELSE '' END USING ERRCODE = '55000'; END IF;
  RETURN outbox.log_activity(resume.actor, resume.via, 'resume', v_what, resume.reason, 1, 1, address => resume.address,
    before => jsonb_strip_nulls(jsonb_build_object('at', v_was.at, 'actor', v_was.actor, 'reason', v_was.reason, 'until', v_was.until)));
END $$;
-- +goose StatementEnd

CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 14; -- the number of the newest migration

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
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox.resume(destination text, actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  v_what text := CASE resume.destination WHEN '' THEN 'all destinations' ELSE 'destination ' || resume.destination END;
  v_was outbox.pause;
BEGIN
  IF resume.destination IS NULL OR coalesce(resume.actor, '') = '' THEN
    RAISE EXCEPTION 'outbox: resume needs to know what, and who does it' USING ERRCODE = '22023'; END IF;
  DELETE FROM outbox.pause p WHERE p.destination = resume.destination RETURNING p.* INTO v_was;
  IF NOT FOUND THEN
    IF resume.destination = '' THEN
      RAISE EXCEPTION 'outbox: there is no pause of all destinations%', coalesce((SELECT '; paused by themselves: ' || string_agg(p.destination, ', ' ORDER BY p.destination)
        FROM outbox.pause p), '') USING ERRCODE = '55000'; END IF;
    RAISE EXCEPTION 'outbox: % is not paused by itself%', resume.destination, CASE WHEN EXISTS (SELECT FROM outbox.pause p WHERE p.destination = '')
      THEN '; all destinations are paused by one act, resume all' ELSE '' END USING ERRCODE = '55000'; END IF;
  RETURN outbox.log_activity(resume.actor, resume.via, 'resume', v_what, resume.reason, 1, 1, address => resume.address,
    before => jsonb_build_object('at', v_was.at, 'actor', v_was.actor, 'reason', v_was.reason));
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox.pause_until(destination text, actor text, reason text, until timestamptz, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  v_what text := CASE pause_until.destination WHEN '' THEN 'all destinations' ELSE 'destination ' || pause_until.destination END;
  v_now outbox.pause;
  v_activity bigint;
BEGIN
  IF pause_until.destination IS NULL OR coalesce(pause_until.actor, '') = '' OR btrim(coalesce(pause_until.reason, '')) = '' THEN
    RAISE EXCEPTION 'outbox: pause needs to know what, who does it and why' USING ERRCODE = '22023'; END IF;
  IF pause_until.until <= clock_timestamp() OR pause_until.until >= '10000-01-01 00:00:00+00' THEN
    RAISE EXCEPTION 'outbox: the end of the pause is over already, or never comes; it is now %', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
      USING ERRCODE = '55000'; END IF;
  PERFORM outbox.end_pauses();
  v_activity := outbox.log_activity(pause_until.actor, pause_until.via, 'pause', v_what, pause_until.reason, 1, 1, address => pause_until.address,
    after => CASE WHEN pause_until.until IS NOT NULL THEN jsonb_build_object('until', pause_until.until) END,
    result => 'until ' || to_char(pause_until.until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')); -- its lock lets one at a time in
  SELECT * INTO v_now FROM outbox.pause p WHERE p.destination = pause_until.destination;
  IF FOUND THEN
    RAISE EXCEPTION 'outbox: % paused already, by % since %, because: %', CASE pause_until.destination WHEN '' THEN 'all destinations are' ELSE pause_until.destination || ' is' END,
      v_now.actor, to_char(v_now.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), v_now.reason USING ERRCODE = '55000'; END IF;
  INSERT INTO outbox.pause (destination, actor, reason, activity_id, until) VALUES (pause_until.destination, pause_until.actor, pause_until.reason, v_activity, pause_until.until);
  RETURN v_activity;
END $$;
-- +goose StatementEnd
DROP INDEX outbox.message_held_aside;
CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 13;
