-- +goose Up
SET LOCAL lock_timeout = '1s';
SET LOCAL statement_timeout = '60s';
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL ROLE outbox_owner;

CREATE TABLE outbox.generations ( -- who this outbox is; almost always one row
  from_id bigint PRIMARY KEY,
  outbox_id uuid NOT NULL DEFAULT gen_random_uuid(),
  system_identifier bigint NOT NULL,
  timeline int NOT NULL,
  database_oid oid NOT NULL,
  reason text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now());

-- Where we are. The timeline comes from the name of the WAL file: pg_control_checkpoint() still shows the old one right after a promotion. It fails on a
-- standby, which means "refuse".
CREATE FUNCTION outbox.here(OUT system_identifier bigint, OUT timeline int, OUT database_oid oid) LANGUAGE sql STABLE
  SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT s.system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int, d.oid
  FROM pg_control_system() s, pg_database d WHERE d.datname = current_database() $$;

INSERT INTO outbox.generations (from_id, system_identifier, timeline, database_oid, reason) SELECT 0, h.*, 'created' FROM outbox.here() h;

CREATE SEQUENCE outbox.message_id_seq AS bigint CACHE 1; -- CACHE > 1 hands out blocks per session and breaks the order

-- First the transaction id, then the id: the proof that a hole stays empty rests on this order. CASE keeps it, and one expression is inlined.
CREATE FUNCTION outbox.next_id() RETURNS bigint LANGUAGE sql VOLATILE
  RETURN CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('outbox.message_id_seq') END;

-- The rule for headers. A function and not the expression itself: PostgreSQL parses the text of a CHECK again for each INSERT, and this one is long.
-- No SET clause: it would cost more than the call; every name is qualified instead.
-- +goose StatementBegin
CREATE FUNCTION outbox.flat_headers(headers jsonb) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
  RETURN pg_catalog.jsonb_typeof(headers) OPERATOR(pg_catalog.=) 'object' AND NOT headers OPERATOR(pg_catalog.@?)
    '$.keyvalue() ? (@.value.type() != "string" || @.key == "" || @.key like_regex "^waybill-" flag "i")';
END $$;
-- +goose StatementEnd

CREATE TABLE outbox.message_log ( -- wide and immutable
  id bigint NOT NULL DEFAULT outbox.next_id(),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- for people and age; never for order
  deliver_after timestamptz,
  topic text COLLATE "C" NOT NULL,
  key text COLLATE "C",
  type text COLLATE "C",
  content_type text COLLATE "C",
  message_id text COLLATE "C", -- only when the application gave one
  traceparent text COLLATE "C",
  tracestate text COLLATE "C",
  headers jsonb, -- flat object of strings
  payload bytea, -- null = tombstone
  PRIMARY KEY (id),
  CONSTRAINT topic_len CHECK (octet_length(topic) BETWEEN 1 AND 249),
  CONSTRAINT key_len CHECK (octet_length(key) BETWEEN 1 AND 1024),
  CONSTRAINT mid_len CHECK (octet_length(message_id) BETWEEN 1 AND 256),
  -- what a plain INSERT could write and no reader could carry: nested headers, our own header names, infinity
  CONSTRAINT headers_flat CHECK (outbox.flat_headers(headers)),
  CONSTRAINT deliver_after_range CHECK (deliver_after >= '0001-01-01 00:00:00+00' AND deliver_after < '10000-01-01 00:00:00+00')
) PARTITION BY RANGE (id);
ALTER TABLE outbox.message_log ALTER payload SET STATISTICS 0, ALTER headers SET STATISTICS 0;
CREATE TABLE outbox.message_log_rest PARTITION OF outbox.message_log DEFAULT; -- safety net: an insert never fails for want of a partition

CREATE TABLE outbox.message_pending (id bigint PRIMARY KEY) WITH ( -- one row = one message still to send
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
  autovacuum_analyze_threshold = 2000000000, vacuum_truncate = false);

CREATE TABLE outbox.message_held ( -- set aside from the main flow
  id bigint PRIMARY KEY,
  state text COLLATE "C" NOT NULL CHECK (state IN ('retrying', 'blocked', 'scheduled', 'dead')),
  topic text COLLATE "C" NOT NULL,
  key text COLLATE "C",
  destination text COLLATE "C" NOT NULL DEFAULT '', -- '' = to be routed when it is taken
  due_at timestamptz, -- its turn; null = waits for something else (dead, blocked)
  sending boolean NOT NULL DEFAULT false, -- taken by the owner
  passed boolean NOT NULL DEFAULT false, -- its key goes on without it
  attempts int NOT NULL DEFAULT 0,
  outcome text COLLATE "C",
  class text COLLATE "C",
  error_code text COLLATE "C",
  error text,
  fingerprint bigint, -- of its failure group
  first_failed_at timestamptz,
  held_at timestamptz NOT NULL DEFAULT now(),
  changed_at timestamptz NOT NULL DEFAULT now(),
  activity_id bigint, -- the last act of a person on it
  CHECK (state <> 'dead' OR due_at IS NULL)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, vacuum_truncate = false);
CREATE INDEX message_held_due ON outbox.message_held (destination, due_at, id) WHERE due_at IS NOT NULL AND NOT sending;
CREATE INDEX message_held_sending ON outbox.message_held (id) WHERE sending;
CREATE UNIQUE INDEX message_held_head ON outbox.message_held (topic, key) WHERE key IS NOT NULL AND state = 'retrying' AND NOT passed; -- one per key
CREATE INDEX message_held_key ON outbox.message_held (topic, key, id) WHERE key IS NOT NULL AND state <> 'scheduled' AND NOT passed;
CREATE INDEX message_held_group ON outbox.message_held (fingerprint, id) WHERE fingerprint IS NOT NULL;
CREATE INDEX message_held_state ON outbox.message_held (state, id);

CREATE TABLE outbox.message_discarded (
  id bigint PRIMARY KEY,
  activity_id bigint NOT NULL,
  discarded_at timestamptz NOT NULL DEFAULT now(),
  attempts int NOT NULL,
  outcome text COLLATE "C",
  class text COLLATE "C",
  error_code text COLLATE "C",
  error text);

CREATE TABLE outbox.message_ids (message_id text COLLATE "C" PRIMARY KEY, id bigint NOT NULL); -- a partitioned log cannot carry this unique key
CREATE INDEX message_ids_id ON outbox.message_ids (id);

CREATE TABLE outbox.attempt ( -- failed tries, for people; a message that passes at the first try writes none
  id bigint NOT NULL,
  n int NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  epoch bigint NOT NULL,
  instance text COLLATE "C",
  lane text COLLATE "C",
  outcome text COLLATE "C" NOT NULL,
  class text COLLATE "C",
  error_code text COLLATE "C",
  error text,
  took interval,
  PRIMARY KEY (id, n));

CREATE TABLE outbox.receipts ( -- the stored proof: one row per lane batch
  hi bigint NOT NULL,
  lo bigint NOT NULL,
  n int NOT NULL CHECK (n > 0),
  epoch bigint NOT NULL,
  seq bigint NOT NULL, -- counts up inside an epoch: makes settling idempotent
  destination text COLLATE "C" NOT NULL,
  lane text COLLATE "C" NOT NULL,
  first_offset bigint, -- message i lies at first_offset + i; null where the broker gives none
  acked_at timestamptz NOT NULL,
  ids bytea NOT NULL, -- lo, then each difference to the id before, as unsigned LEB128
  detail text,
  PRIMARY KEY (hi, epoch, seq),
  CHECK (hi >= lo AND hi - lo < 65536) -- so that "which receipt holds id x" is a short index range
) PARTITION BY RANGE (hi);
CREATE TABLE outbox.receipts_rest PARTITION OF outbox.receipts DEFAULT;

CREATE TABLE outbox.owner (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  epoch bigint NOT NULL DEFAULT 0,
  owner text,
  address text,
  lease_until timestamptz NOT NULL DEFAULT '-infinity',
  released boolean NOT NULL DEFAULT true,
  acquired_at timestamptz,
  quiet_until timestamptz NOT NULL DEFAULT 'epoch', -- no byte to an unfenced destination before it; only ever raised
  low_water bigint NOT NULL DEFAULT 0, -- the rest is for people, written at renewal
  read_up_to bigint NOT NULL DEFAULT 0,
  pending bigint,
  oldest_at timestamptz
) WITH (fillfactor = 20);
INSERT INTO outbox.owner DEFAULT VALUES;

CREATE UNLOGGED TABLE outbox.alive (epoch bigint PRIMARY KEY, incarnation uuid NOT NULL DEFAULT gen_random_uuid()); -- emptied by crash recovery, promotion

CREATE TABLE outbox.destination ( -- which cluster a destination's name stands for, pinned at its first Open
  name text COLLATE "C" PRIMARY KEY,
  kind text COLLATE "C" NOT NULL,
  cluster_id text COLLATE "C" NOT NULL,
  opened_at timestamptz NOT NULL DEFAULT now(),
  adopted_at timestamptz,
  activity_id bigint);

CREATE TABLE outbox.relay ( -- every running relay, owner or standby; one write per 5 s
  instance text COLLATE "C" PRIMARY KEY,
  started_at timestamptz NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  version text NOT NULL,
  address text,
  checks jsonb NOT NULL DEFAULT '{}') WITH (fillfactor = 20);

-- Cells, not counters: a sequence is updated in place, so no dead versions pile up however long a snapshot is held.
CREATE SEQUENCE outbox.claimed AS bigint MINVALUE 0 START 0; -- highest id ever claimed
CREATE SEQUENCE outbox.asleep AS bigint MINVALUE 0 START 0; -- 1 = the owner sleeps and wants a NOTIFY
CREATE SEQUENCE outbox.ceiling AS bigint MINVALUE 0 START 0; -- highest id that may be written (the brake)
SELECT setval('outbox.claimed', 0), setval('outbox.asleep', 0), setval('outbox.ceiling', 9223372036854775807);

CREATE TABLE outbox.limits ( -- the largest message of a topic in bytes; the relay keeps it from the brokers' own limits
  topic text COLLATE "C" PRIMARY KEY,
  max_bytes int NOT NULL,
  source text,
  updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO outbox.limits VALUES ('*', 1000000, 'default');

CREATE TABLE outbox.activity ( -- who did what and why: append only, one hash chain, written by log_activity alone
  id bigint PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  actor text NOT NULL,
  via text NOT NULL CHECK (via IN ('ui', 'cli', 'api', 'auto')),
  db_user text NOT NULL DEFAULT session_user,
  address text,
  action text NOT NULL,
  target text,
  operation_id bigint,
  reason text,
  filter jsonb,
  requested int NOT NULL DEFAULT 0,
  changed int NOT NULL DEFAULT 0,
  ids bigint[],
  before jsonb,
  after jsonb,
  result text,
  prev_hash bytea NOT NULL,
  hash bytea NOT NULL);

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
DROP TABLE outbox.activity, outbox.limits, outbox.relay, outbox.destination, outbox.alive, outbox.owner, outbox.receipts, outbox.attempt, outbox.message_ids,
  outbox.message_discarded, outbox.message_held, outbox.message_pending, outbox.message_log, outbox.generations;
DROP SEQUENCE outbox.claimed, outbox.asleep, outbox.ceiling;
DROP FUNCTION outbox.flat_headers(jsonb), outbox.next_id(), outbox.here();
DROP SEQUENCE outbox.message_id_seq;
