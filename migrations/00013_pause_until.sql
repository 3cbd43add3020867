-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

ALTER TABLE outbox.pause ADD COLUMN until timestamptz CHECK (until < '10000-01-01 00:00:00+00'); -- null = until somebody resumes it

-- end_pauses takes back every pause whose end has come. Nobody needs it to go on: a pause that is over stops nothing. It writes down that it is over.
-- +goose StatementBegin
CREATE FUNCTION outbox.end_pauses() RETURNS int
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
  v_was outbox.pause;
  v_n int := 0;
BEGIN
  FOR v_was IN DELETE FROM outbox.pause p WHERE p.until <= clock_timestamp() RETURNING p.* LOOP
    PERFORM outbox.log_activity('waybill', 'auto', 'resume', CASE v_was.destination WHEN '' THEN 'all destinations' ELSE 'destination ' || v_was.destination END, 'the pause was until now', 1, 1,
      before => jsonb_build_object('at', v_was.at, 'actor', v_was.actor, 'reason', v_was.reason, 'until', v_was.until));
    v_n := v_n + 1;
  END LOOP;
  RETURN v_n;
END $$;
-- +goose StatementEnd

-- pause_until is pause with an end; null = none.
-- +goose StatementBegin
CREATE FUNCTION outbox.pause_until(destination text, actor text, reason text, until timestamptz, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
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

-- Programs of the version before call it.
CREATE OR REPLACE FUNCTION outbox.pause(destination text, actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$ SELECT outbox.pause_until($1, $2, $3, NULL, $4, $5) $$;

REVOKE ALL ON FUNCTION outbox.end_pauses(), outbox.pause_until(text, text, text, timestamptz, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.end_pauses() TO outbox_relay;
GRANT EXECUTE ON FUNCTION outbox.pause_until(text, text, text, timestamptz, text, text) TO outbox_operator;

CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 13; -- the number of the newest migration

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
SELECT outbox.end_pauses();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION outbox.pause(destination text, actor text, reason text, via text DEFAULT 'cli', address text DEFAULT NULL) RETURNS bigint
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
DROP FUNCTION outbox.pause_until(text, text, text, timestamptz, text, text), outbox.end_pauses();
ALTER TABLE outbox.pause DROP COLUMN until; -- what has an end loses it, and lasts until it is resumed
CREATE OR REPLACE FUNCTION outbox.version() RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 12;
