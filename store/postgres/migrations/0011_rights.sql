-- Rights: who serves need not own the tables.

SET LOCAL lock_timeout = '500ms'; -- see 0005

-- What takes an owner is done by functions that run as the owner, for whom they are
-- granted to. Nobody can have the names in them find something else, not even who may
-- make functions in the schema of the tables: they learn that schema from the search
-- path that is set for them, and then set another, of the system's schema alone. It is
-- given back at their end. Until it is set, all names say where they are.

-- Makes partitions until there is room for half a partition ahead. CREATE and
-- ATTACH, not PARTITION OF, whose lock on the log a running dump would keep
-- waiting, and all sequencing with it.
CREATE OR REPLACE FUNCTION sluice_extend_log() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '500ms' AS $$
DECLARE
  schema CONSTANT text := pg_catalog.replace(pg_catalog.current_setting('search_path'), ', pg_temp', '');
  head bigint;
  part_end bigint;
  part_size bigint;
  part text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  PERFORM pg_advisory_xact_lock(1936487682, (schema || '.sluice_outbox')::regclass::oid::integer);
  EXECUTE format('SELECT part_end, part_size FROM %s.sluice_meta FOR UPDATE', schema) INTO STRICT part_end, part_size;
  EXECUTE format('SELECT greatest(trimmed, (SELECT max("offset") FROM %s.sluice_log)) FROM %1$s.sluice_meta', schema) INTO head;
  WHILE part_end - 1 - head < part_size / 2 LOOP
    part := format('%s.%I', schema, 'sluice_log_' || part_end::text);
    EXECUTE format('CREATE TABLE %s (LIKE %s.sluice_log INCLUDING ALL)', part, schema);
    EXECUTE format('ALTER TABLE %s.sluice_log ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)',
      schema, part, part_end, part_end + part_size);
    EXECUTE format('UPDATE %s.sluice_meta SET part_end = part_end + part_size RETURNING part_end', schema) INTO part_end;
  END LOOP;
END $$;

-- Removes the oldest partition of which trimmed has passed the last offset,
-- and returns its name; null when there is none. This takes an exclusive lock
-- on the log, which everybody has to wait for who comes later: so it waits for
-- that lock no longer than nobody notices, and gives up while something that
-- takes longer, such as a dump, uses the log. DETACH CONCURRENTLY, which does
-- without that lock, leaves a partition half detached when it gives up, and
-- cannot be had through a pooler.
CREATE OR REPLACE FUNCTION sluice_remove_partition() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '50ms' AS $$
DECLARE
  schema CONSTANT text := pg_catalog.replace(pg_catalog.current_setting('search_path'), ', pg_temp', '');
  old text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  EXECUTE format('SELECT part::text FROM %s.sluice_partitions, %1$s.sluice_meta WHERE past <= trimmed + 1 ORDER BY first LIMIT 1', schema) INTO old;
  IF old IS NOT NULL THEN
    EXECUTE format('ALTER TABLE %s.sluice_log DETACH PARTITION %s', schema, old);
    EXECUTE format('DROP TABLE %s', old);
  END IF;
  RETURN old;
END $$;

-- Makes the sequence of the outbox draw ids in ascending order, whoever draws them,
-- and says whether it had to.
CREATE OR REPLACE FUNCTION sluice_order_ids() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET lock_timeout = '200ms' AS $$
DECLARE
  schema CONSTANT text := pg_catalog.replace(pg_catalog.current_setting('search_path'), ', pg_temp', '');
  ids regclass;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  ids := format('%s.sluice_outbox_id_seq', schema);
  IF (SELECT seqcache = 1 AND seqincrement > 0 FROM pg_sequence WHERE seqrelid = ids) THEN
    RETURN false;
  END IF;
  EXECUTE format('ALTER SEQUENCE %s INCREMENT BY 1 CACHE 1 NO CYCLE', ids);
  RETURN true;
END $$;

REVOKE ALL ON FUNCTION sluice_extend_log(), sluice_remove_partition(), sluice_order_ids() FROM PUBLIC;

DO $migration$
DECLARE
  place CONSTANT regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = 'sluice_log'::regclass);
  owner CONSTANT regrole := (SELECT relowner FROM pg_class WHERE oid = 'sluice_log'::regclass);
  sql text;
BEGIN
  FOR sql IN SELECT format('ALTER FUNCTION %s SET search_path = %s, pg_temp', oid::regprocedure, place) FROM pg_proc
      WHERE prosecdef AND pronamespace = place AND starts_with(proname, 'sluice_') LOOP
    EXECUTE sql;
  END LOOP;
  -- One role owns it all, so that it can remove what others have made.
  IF has_schema_privilege(owner, place, 'CREATE') AND pg_has_role(owner, 'MEMBER') THEN
    FOR sql IN SELECT format('ALTER FUNCTION %s OWNER TO %s', oid::regprocedure, owner) FROM pg_proc
        WHERE prosecdef AND proowner <> owner AND pronamespace = place AND starts_with(proname, 'sluice_')
      UNION ALL SELECT format('ALTER TABLE %s OWNER TO %s', part, owner) FROM sluice_partitions JOIN pg_class ON oid = part
        WHERE relowner <> owner AND pg_has_role(relowner, 'USAGE') LOOP
      EXECUTE sql;
    END LOOP;
  END IF;
END $migration$;
