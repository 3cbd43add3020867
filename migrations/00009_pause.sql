-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- The destinations that people have stopped. The owner looks here every second, and before it sends anything.
CREATE TABLE outbox.pause (
  destination text COLLATE "C" PRIMARY KEY CHECK (octet_length(destination) <= 200), -- '' = all of them, also those that are configured later
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor text NOT NULL,
  reason text NOT NULL,
  activity_id bigint NOT NULL);

-- pause stops a destination, or all by one act.
-- +goose StatementBegin
CREATE FUNCTION outbox.pause(destination text, actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
#variable_conflict use_column
DECLARE
  v_what text := CASE pause.destination WHEN '' THEN 'all destinations' ELSE 'destination ' || pause.destination END;
  v_now outbox.pause;
  v_activity bigint;
BEGIN
  IF pause.destination IS NULL OR coalesce(pause.actor, '') = '' OR btrim(coalesce(pause.reason, '')) = '' THEN
    RAISE EXCEPTION 'outbox: pause needs to know what, who does it and why' USING ERRCODE = '22023'; END IF;
  v_activity := outbox.log_activity(pause.actor, pause.via, 'pause', v_what, pause.reason, 1, 1, address => pause.address); -- its lock lets one at a time in
  SELECT * INTO v_now FROM outbox.pause p WHERE p.destination = pause.destination;
  IF FOUND THEN
    RAISE EXCEPTION 'outbox: % paused already, by % since %, because: %', CASE pause.destination WHEN '' THEN 'all destinations are' ELSE pause.destination || ' is' END,
      v_now.actor, to_char(v_now.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), v_now.reason USING ERRCODE = '55000'; END IF;
  INSERT INTO outbox.pause (destination, actor, reason, activity_id) VALUES (pause.destination, pause.actor, pause.reason, v_activity);
  RETURN v_activity;
END $$;
-- +goose StatementEnd

-- resume takes one pause back: that of a destination, or that of all.
-- +goose StatementBegin
CREATE FUNCTION outbox.resume(destination text, actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
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

REVOKE ALL ON FUNCTION outbox.pause(text, text, text, text, text), outbox.resume(text, text, text, text, text) FROM PUBLIC;
GRANT SELECT ON outbox.pause TO outbox_relay, outbox_viewer;
GRANT EXECUTE ON FUNCTION outbox.pause(text, text, text, text, text), outbox.resume(text, text, text, text, text) TO outbox_operator;

CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 9; -- the number of the newest migration

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
CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 8;
DROP FUNCTION outbox.resume(text, text, text, text, text), outbox.pause(text, text, text, text, text);
DROP TABLE outbox.pause;
