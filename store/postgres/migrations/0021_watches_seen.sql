-- What is watched is listed for roles that may not use the schemas of all watched tables,
-- too, and whatever comments others give to functions: both could fail the whole list.

-- What is watched: see the view. A comment that is none of ours, by whoever, is passed by.
CREATE OR REPLACE FUNCTION sluice_watches(outbox regclass) RETURNS TABLE ("table" text, topic text, columns text[], key text, events text[], unpublished bigint, broken text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  f record;
  made jsonb;
  rel oid;
  owner oid;
  home CONSTANT text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = outbox);
  uses text[];
  counter oid; -- the sequence
  part oid;
  e text;
  gone text;
BEGIN
  FOR f IN SELECT p.oid, p.oid::regproc::text AS name, pronamespace AS place, proname AS short, proowner, description FROM pg_proc p JOIN pg_description d ON d.objoid = p.oid AND classoid = 'pg_proc'::regclass AND objsubid = 0
      WHERE starts_with(proname, 'sluice_watch_') AND prorettype = 'trigger'::regtype AND starts_with(description, 'sluice_watch {') ORDER BY 2 LOOP
    BEGIN
      made := substr(f.description, 14)::jsonb;
      topic := made ->> 'topic';
      key := made ->> 'key';
      columns := CASE jsonb_typeof(made -> 'columns') WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(made -> 'columns')) END;
      events := ARRAY(SELECT jsonb_array_elements_text(made -> 'events'));
      uses := ARRAY(SELECT jsonb_array_elements_text(made -> 'uses'));
      CONTINUE WHEN topic IS NULL OR made ->> 'log' IS NULL OR array_position(events || columns, NULL) IS NOT NULL;
      CONTINUE WHEN to_regclass((made ->> 'log') || '.sluice_outbox') <> outbox;
    EXCEPTION WHEN OTHERS THEN
      CONTINUE;
    END;
    broken := '{}';
    SELECT c.oid, c.relowner INTO rel, owner FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid WHERE tgfoid = f.oid AND tgnargs = 0 LIMIT 1;
    "table" := rel::regclass;
    SELECT c.oid INTO counter FROM pg_class c WHERE relnamespace = f.place AND relname = f.short AND relkind = 'S';
    unpublished := CASE WHEN has_sequence_privilege(counter, 'SELECT, USAGE') THEN coalesce(pg_sequence_last_value(counter), 0) END;
    IF rel IS NULL THEN
      broken := broken || format('its table was dropped: DROP FUNCTION %s(); DROP SEQUENCE IF EXISTS %1$s', f.name);
      RETURN NEXT;
      CONTINUE;
    END IF;
    IF to_regclass((made ->> 'log') || '.sluice_outbox') IS NULL THEN
      broken := broken || format('there is no %s.sluice_outbox any more, and writing to the table fails: call sluice_watch again', made ->> 'log');
    ELSIF NOT has_schema_privilege(f.proowner, (made ->> 'log')::regnamespace, 'USAGE') OR NOT has_table_privilege(f.proowner, outbox, 'INSERT') THEN
      broken := broken || format('%1$s may not insert into sluice_outbox, and writing to the table fails: GRANT USAGE ON SCHEMA %2$s TO %1$s; GRANT INSERT ON %3$s TO %1$s', f.proowner::regrole, home, outbox);
    ELSIF (SELECT relrowsecurity FROM pg_class WHERE oid = outbox) THEN
      broken := broken || format('row security may refuse what is inserted: ALTER TABLE %s DISABLE ROW LEVEL SECURITY', outbox);
    END IF;
    IF f.proowner <> owner THEN
      broken := broken || format('it publishes as %s, and %s owns the table: call sluice_watch again', f.proowner::regrole, owner::regrole);
    END IF;
    FOR gone IN SELECT u FROM unnest(uses) u WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = rel AND attname = u AND NOT attisdropped) LOOP
      broken := broken || format('column %I is gone and counts as null: call sluice_watch again', gone);
    END LOOP;
    FOR part IN WITH RECURSIVE family AS (SELECT rel AS oid UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = family.oid) SELECT oid FROM family LOOP
      FOREACH e IN ARRAY events LOOP
        CONTINUE WHEN e = 'truncate' AND part <> rel AND (SELECT relkind = 'p' FROM pg_class WHERE oid = part);
        IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = part AND tgfoid = f.oid AND tgname = 'sluice_watch_' || e) THEN
          broken := broken || format('%s of %s is not seen%s: call sluice_watch again', upper(e), part::regclass, CASE WHEN part <> rel THEN ' when it is named itself' END);
        ELSIF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = part AND tgfoid = f.oid AND tgname = 'sluice_watch_' || e AND tgenabled NOT IN ('O', 'A')) THEN
          broken := broken || format('its trigger is disabled: ALTER TABLE %s ENABLE TRIGGER %I', part::regclass, 'sluice_watch_' || e);
        END IF;
      END LOOP;
    END LOOP;
    RETURN NEXT;
  END LOOP;
END $$;
