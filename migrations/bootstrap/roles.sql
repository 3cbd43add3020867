-- The database roles, before the first migration. Roles belong to the whole cluster, so each step looks first: a second outbox database, a parallel
-- run and a login without CREATEROLE find everything made and write nothing.
DO $$
DECLARE
  r text;
  m record;
BEGIN
  FOREACH r IN ARRAY ARRAY['outbox_owner', 'outbox_migrator', 'outbox_producer', 'outbox_relay', 'outbox_viewer', 'outbox_operator', 'outbox_payload',
      'outbox_monitor'] LOOP
    IF to_regrole(r) IS NULL THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN %s', r, CASE r WHEN 'outbox_migrator' THEN 'NOINHERIT' ELSE '' END);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database's migration was faster
      END;
    END IF;
  END LOOP;
  -- the migrator becomes the owner by SET ROLE only; an operator sees what a viewer sees; who runs this may migrate
  FOR m IN SELECT * FROM (VALUES ('outbox_owner', 'outbox_migrator'), ('outbox_viewer', 'outbox_operator'), ('pg_monitor', 'outbox_monitor'),
      ('outbox_migrator', current_user::text)) AS v(granted, member) LOOP
    CONTINUE WHEN CASE m.member WHEN current_user
        -- who makes a role may grant it from PostgreSQL 16 on, but not yet use it
        THEN pg_has_role(current_user, 'outbox_owner', CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
        ELSE EXISTS (SELECT FROM pg_auth_members a WHERE a.roleid = to_regrole(m.granted) AND a.member = to_regrole(m.member)) END;
    BEGIN
      EXECUTE format('GRANT %I TO %I', m.granted, m.member);
    EXCEPTION
      WHEN unique_violation THEN NULL;
      WHEN insufficient_privilege THEN
        IF m.granted <> 'pg_monitor' THEN RAISE; END IF; -- the doctor says what cannot be seen without it
        RAISE NOTICE 'outbox: may not grant pg_monitor to outbox_monitor: an administrator has to';
    END;
  END LOOP;
END $$;
