-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

CREATE VIEW outbox.partitions AS -- of the log, by id range; those of the receipts have the same bounds. The default partition is not listed
  SELECT c.relname::text AS name, b.bound[1]::bigint AS lo, b.bound[2]::bigint AS hi, pg_total_relation_size(c.oid) AS bytes
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(\d+)''?\) TO \(''?(\d+)''?\)') AS bound) b
  WHERE i.inhparent = 'outbox.message_log'::regclass AND b.bound IS NOT NULL;

-- An empty table that may become a partition of the log. No vacuum for inserts: it is dropped before that would pay.
-- +goose StatementBegin
CREATE FUNCTION outbox.new_partition(name text) RETURNS void LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  EXECUTE format('CREATE TABLE outbox.%I (LIKE outbox.message_log INCLUDING ALL)', name);
  EXECUTE format('ALTER TABLE outbox.%I SET (autovacuum_vacuum_insert_threshold = -1), ALTER payload SET STATISTICS 0, ALTER headers SET STATISTICS 0', name);
END $$;
-- +goose StatementEnd

-- add_partition makes the partition [lo, hi) of the log and of the receipts and returns its name; one that is there already is left as it is. ATTACH passes open
-- writers at once but needs the default partition alone: it fails with 55P03 while an open transaction has read the log. So partitions lie ahead.
-- +goose StatementBegin
CREATE FUNCTION outbox.add_partition(lo bigint, hi bigint) RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
  v_log text := 'message_log_' || add_partition.lo;
  v_receipts text := 'receipts_' || add_partition.lo;
BEGIN
  IF add_partition.lo IS NULL OR add_partition.hi IS NULL OR add_partition.lo < 0 OR add_partition.hi <= add_partition.lo THEN
    RAISE EXCEPTION 'outbox: a partition goes from lo >= 0 to hi > lo, got % to %', add_partition.lo, add_partition.hi USING ERRCODE = '22023'; END IF;
  IF EXISTS (SELECT FROM outbox.partitions p WHERE p.lo = add_partition.lo AND p.hi = add_partition.hi) THEN RETURN v_log; END IF;
  PERFORM outbox.new_partition(v_log);
  EXECUTE format('ALTER TABLE outbox.message_log ATTACH PARTITION outbox.%I FOR VALUES FROM (%s) TO (%s)', v_log, add_partition.lo, add_partition.hi);
  EXECUTE format('CREATE TABLE outbox.%I (LIKE outbox.receipts INCLUDING ALL)', v_receipts);
  EXECUTE format('ALTER TABLE outbox.%I SET (autovacuum_vacuum_insert_threshold = -1)', v_receipts);
  EXECUTE format('ALTER TABLE outbox.receipts ATTACH PARTITION outbox.%I FOR VALUES FROM (%s) TO (%s)', v_receipts, add_partition.lo, add_partition.hi);
  RETURN v_log;
END $$;
-- +goose StatementEnd

-- Why the partition may not go now; null = it may.
-- +goose StatementBegin
CREATE FUNCTION outbox.partition_in_use(name text, keep interval, held_allowed int) RETURNS text LANGUAGE plpgsql VOLATILE
  SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  p record;
  v_newest timestamptz;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'outbox: partitions are dropped in a read committed transaction' USING ERRCODE = '25001'; END IF;
  SELECT v.lo, v.hi INTO p FROM outbox.partitions v WHERE v.name = partition_in_use.name;
  IF NOT FOUND THEN RETURN format('there is no partition "%s"', name); END IF;
  IF p.hi > (SELECT s.last_value FROM outbox.message_id_seq s) THEN RETURN format('ids below %s are still to be written', p.hi); END IF;
  EXECUTE format('SELECT m.created_at FROM outbox.%I m ORDER BY m.id DESC LIMIT 1', name) INTO v_newest;
  IF v_newest > clock_timestamp() - keep THEN RETURN format('its newest message is %s old', date_trunc('second', clock_timestamp() - v_newest)); END IF;
  IF EXISTS (SELECT FROM outbox.message_pending m WHERE m.id >= p.lo AND m.id < p.hi) THEN RETURN 'it has messages that are pending'; END IF;
  IF (SELECT count(*) FROM (SELECT FROM outbox.message_held m WHERE m.id >= p.lo AND m.id < p.hi LIMIT held_allowed + 1) h) > held_allowed THEN
    RETURN CASE held_allowed WHEN 0 THEN 'it has messages that are held' ELSE format('it has more than %s messages that are held', held_allowed) END; END IF;
  RETURN NULL;
END $$;
-- +goose StatementEnd

-- drop_partition drops a partition whose messages are all settled and older than keep, with its receipts. It returns null when that is done, else the reason
-- why not. Every open writer holds ROW EXCLUSIVE on the log, so behind the lock no insert is half done: what is checked there stays true.
-- +goose StatementBegin
CREATE FUNCTION outbox.drop_partition(name text, keep interval) RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
  v_reason text := outbox.partition_in_use(name, keep, 0);
  v_receipts text := replace(name, 'message_log_', 'receipts_');
  v_lo bigint;
BEGIN
  IF v_reason IS NOT NULL THEN RETURN v_reason; END IF;
  LOCK TABLE ONLY outbox.message_log IN ACCESS EXCLUSIVE MODE; -- ONLY: a vacuum of another partition is not in the way
  v_reason := outbox.partition_in_use(name, keep, 0);
  IF v_reason IS NOT NULL THEN RETURN v_reason; END IF;
  SELECT p.lo INTO v_lo FROM outbox.partitions p WHERE p.name = drop_partition.name;
  EXECUTE format('ALTER TABLE outbox.message_log DETACH PARTITION outbox.%I', name);
  EXECUTE format('DROP TABLE outbox.%I', name);
  EXECUTE format('ALTER TABLE outbox.receipts DETACH PARTITION outbox.%I', v_receipts);
  EXECUTE format('INSERT INTO outbox.receipts SELECT r.* FROM outbox.%I r WHERE r.lo < $1', v_receipts) USING v_lo; -- proofs of an older, pinned partition
  EXECUTE format('DROP TABLE outbox.%I', v_receipts);
  PERFORM outbox.log_activity('waybill', 'auto', 'drop_partition', name, format('retention of %s', keep));
  RETURN NULL;
END $$;
-- +goose StatementEnd

-- shrink_partition keeps only the held messages (at most 10,000) of a partition that they pin and whose newest message is older than keep. Returns as
-- drop_partition does.
-- +goose StatementBegin
CREATE FUNCTION outbox.shrink_partition(name text, keep interval DEFAULT '6 days') RETURNS text LANGUAGE plpgsql VOLATILE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
  v_reason text := outbox.partition_in_use(name, keep, 10000);
  v_new text := name || '_held';
  v_lo bigint;
  v_hi bigint;
BEGIN
  IF v_reason IS NOT NULL THEN RETURN v_reason; END IF;
  LOCK TABLE ONLY outbox.message_log IN ACCESS EXCLUSIVE MODE;
  v_reason := outbox.partition_in_use(name, keep, 10000);
  IF v_reason IS NOT NULL THEN RETURN v_reason; END IF;
  LOCK TABLE outbox.message_held IN SHARE MODE; -- nothing becomes held while the held ones are copied
  SELECT p.lo, p.hi INTO v_lo, v_hi FROM outbox.partitions p WHERE p.name = shrink_partition.name;
  PERFORM outbox.new_partition(v_new);
  EXECUTE format('INSERT INTO outbox.%I SELECT m.* FROM outbox.message_held h JOIN outbox.%I m ON m.id = h.id WHERE h.id >= $1 AND h.id < $2', v_new, name)
    USING v_lo, v_hi;
  EXECUTE format('ALTER TABLE outbox.message_log DETACH PARTITION outbox.%I', name);
  EXECUTE format('DROP TABLE outbox.%I', name);
  EXECUTE format('ALTER TABLE outbox.%I RENAME TO %I', v_new, name);
  EXECUTE format('ALTER INDEX outbox.%I RENAME TO %I', v_new || '_pkey', name || '_pkey');
  EXECUTE format('ALTER TABLE outbox.message_log ATTACH PARTITION outbox.%I FOR VALUES FROM (%s) TO (%s)', name, v_lo, v_hi);
  PERFORM outbox.log_activity('waybill', 'auto', 'shrink_partition', name, format('pinned for longer than %s', keep));
  RETURN NULL;
END $$;
-- +goose StatementEnd

-- The ids in the default partition of the log, null when it is empty: new partitions start above hi.
-- +goose StatementBegin
CREATE FUNCTION outbox.rest_range(OUT lo bigint, OUT hi bigint) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT min(m.id), max(m.id) FROM outbox.message_log_rest m $$;
-- +goose StatementEnd

-- purge_rest deletes, lowest ids first, at most max_rows settled messages older than keep from the default partition of the log, and receipts of messages
-- that are gone from that of the receipts. Returns how many rows went.
-- +goose StatementBegin
CREATE FUNCTION outbox.purge_rest(keep interval, max_rows int DEFAULT 10000) RETURNS int LANGUAGE plpgsql VOLATILE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
DECLARE
  v_messages int;
  v_receipts int;
BEGIN
  DELETE FROM outbox.message_log_rest d WHERE d.id IN (
    SELECT m.id FROM (SELECT r.id, r.created_at FROM outbox.message_log_rest r ORDER BY r.id LIMIT max_rows) m
    WHERE m.created_at < clock_timestamp() - keep AND NOT EXISTS (SELECT FROM outbox.message_pending p WHERE p.id = m.id)
      AND NOT EXISTS (SELECT FROM outbox.message_held h WHERE h.id = m.id));
  GET DIAGNOSTICS v_messages = ROW_COUNT;
  DELETE FROM outbox.receipts_rest d WHERE (d.hi, d.epoch, d.seq) IN (
    SELECT r.hi, r.epoch, r.seq FROM outbox.receipts_rest r
    WHERE r.hi < (SELECT coalesce(min(m.id), 0) FROM outbox.message_log m) ORDER BY r.hi LIMIT max_rows);
  GET DIAGNOSTICS v_receipts = ROW_COUNT;
  RETURN v_messages + v_receipts;
END $$;
-- +goose StatementEnd

-- Two to begin with, above what is written already; the relay adds the next ones.
SELECT outbox.add_partition(f.lo, f.lo + 1000000), outbox.add_partition(f.lo + 1000000, f.lo + 2000000)
  FROM (SELECT CASE WHEN r.hi IS NULL THEN 0 ELSE (s.last_value / 1000000 + 1) * 1000000 END AS lo FROM outbox.rest_range() r, outbox.message_id_seq s) f
  WHERE NOT EXISTS (SELECT FROM outbox.partitions);

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
DROP FUNCTION outbox.purge_rest(interval, int), outbox.rest_range(), outbox.shrink_partition(text, interval), outbox.drop_partition(text, interval),
  outbox.partition_in_use(text, interval, int), outbox.add_partition(bigint, bigint), outbox.new_partition(text);
DROP VIEW outbox.partitions;
