-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

-- Free of payloads and header values. A function inside a view runs with the caller's rights, hence the subqueries.
CREATE VIEW outbox.message_status AS
  SELECT m.id, coalesce(m.message_id, (SELECT g.outbox_id::text FROM outbox.generations g WHERE g.from_id <= m.id ORDER BY g.from_id DESC LIMIT 1)
          || '-' || m.id) AS message_id, m.topic, m.key, m.type, m.content_type, m.traceparent, m.created_at, m.deliver_after,
         CASE WHEN m.headers IS NOT NULL THEN ARRAY(SELECT jsonb_object_keys(m.headers)) END AS header_names,
         coalesce(octet_length(m.payload), 0) AS payload_bytes,
         CASE WHEN h.state = 'dead' THEN 'dead' WHEN h.id IS NOT NULL OR p.id IS NOT NULL THEN 'pending'
              WHEN d.id IS NOT NULL THEN 'discarded' ELSE 'sent' END AS state,
         CASE WHEN h.state <> 'dead' THEN h.state WHEN p.id IS NOT NULL AND m.deliver_after > now() THEN 'scheduled' END AS detail,
         coalesce(h.attempts, d.attempts, 0) AS attempts, h.due_at, h.destination, coalesce(h.outcome, d.outcome) AS outcome, coalesce(h.class, d.class) AS class,
         h.passed, coalesce(h.error_code, d.error_code) AS error_code, coalesce(h.error, d.error) AS error, h.first_failed_at, d.discarded_at
  FROM outbox.message_log m LEFT JOIN outbox.message_pending p ON p.id = m.id
  LEFT JOIN outbox.message_held h ON h.id = m.id LEFT JOIN outbox.message_discarded d ON d.id = m.id;

CREATE VIEW outbox.message_safe AS -- without the joins, for lists by id
  SELECT m.id, coalesce(m.message_id, (SELECT g.outbox_id::text FROM outbox.generations g WHERE g.from_id <= m.id ORDER BY g.from_id DESC LIMIT 1)
          || '-' || m.id) AS message_id, m.topic, m.key, m.type, m.content_type, m.traceparent, m.created_at, m.deliver_after,
         CASE WHEN m.headers IS NOT NULL THEN ARRAY(SELECT jsonb_object_keys(m.headers)) END AS header_names,
         coalesce(octet_length(m.payload), 0) AS payload_bytes
  FROM outbox.message_log m;

CREATE VIEW outbox.overview AS -- one row
  SELECT o.epoch, o.owner, o.address, o.lease_until, o.lease_until > clock_timestamp() AS alive, o.released, o.acquired_at, o.quiet_until, o.low_water,
         o.read_up_to, o.pending, o.oldest_at, s.last_value AS last_id, k.last_value AS claimed, a.last_value AS asleep, c.last_value AS ceiling
  FROM outbox.owner o, outbox.message_id_seq s, outbox.claimed k, outbox.asleep a, outbox.ceiling c;

-- receipts_of says where a message lies at the broker: one row for each time it was sent. lane_offset is null where the broker gives none.
-- +goose StatementBegin
CREATE FUNCTION outbox.receipts_of(id bigint)
  RETURNS TABLE (destination text, lane text, lane_offset bigint, acked_at timestamptz, epoch bigint, detail text)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  v_wanted bigint := receipts_of.id;
  r record;
  v_id bigint;
  v_count int;
  v_position int;
  v_diff bigint;
  v_shift int;
  v_byte int;
BEGIN
  FOR r IN SELECT * FROM outbox.receipts c WHERE c.hi >= v_wanted AND c.hi < v_wanted + 65536 AND c.lo <= v_wanted ORDER BY c.acked_at, c.epoch, c.seq LOOP
    v_id := 0; v_count := 0; v_position := NULL; v_diff := 0; v_shift := 0;
    FOR i IN 0 .. octet_length(r.ids) - 1 LOOP
      v_byte := get_byte(r.ids, i);
      v_diff := v_diff | ((v_byte & 127)::bigint << v_shift);
      v_shift := v_shift + 7;
      IF v_byte < 128 THEN
        v_id := v_id + v_diff; v_count := v_count + 1; v_diff := 0; v_shift := 0;
        IF v_id = v_wanted THEN v_position := v_count; END IF;
      END IF;
    END LOOP;
    IF v_count <> r.n OR v_shift <> 0 OR v_id <> r.hi THEN
      RAISE EXCEPTION 'outbox: the receipt (hi %, epoch %, seq %) is damaged: it decodes to % ids up to %, not to %', r.hi, r.epoch, r.seq, v_count, v_id, r.n
        USING ERRCODE = 'XX001'; END IF;
    IF v_position IS NOT NULL THEN
      destination := r.destination; lane := r.lane; lane_offset := r.first_offset + v_position - 1;
      acked_at := r.acked_at; epoch := r.epoch; detail := r.detail;
      RETURN NEXT;
    END IF;
  END LOOP;
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
DROP FUNCTION outbox.receipts_of(bigint);
DROP VIEW outbox.overview, outbox.message_safe, outbox.message_status;
