-- The schema, before the first migration, because the version table of the migrations lies in it.
DO $$
BEGIN
  IF to_regnamespace('outbox') IS NULL THEN
    CREATE SCHEMA outbox AUTHORIZATION outbox_owner;
  END IF;
END $$;
