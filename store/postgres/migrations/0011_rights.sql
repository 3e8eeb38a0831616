-- Rights: who serves need not own the tables.

SET LOCAL lock_timeout = '500ms'; -- see 0005

-- What takes an owner is done by functions that run as the owner, for whom they are
-- granted to. Names in them are of the system's schema, or say that they are of ours:
-- nobody can have them find something else.
DO $migration$
DECLARE
  ours CONSTANT oid := 'sluice_log'::regclass;
  schema CONSTANT text := (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = ours);
  owner CONSTANT oid := (SELECT relowner FROM pg_class WHERE oid = ours);
  sql text;
BEGIN
  FOREACH sql IN ARRAY ARRAY[

-- Makes partitions until there is room for half a partition ahead. CREATE and
-- ATTACH, not PARTITION OF, whose lock on the log a running dump would keep
-- waiting, and all sequencing with it.
$sql$CREATE OR REPLACE FUNCTION sluice_extend_log() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
  log CONSTANT regclass := {log};
  m record;
  head bigint;
  part text;
BEGIN
  PERFORM pg_advisory_xact_lock(1936487682, {outbox}::regclass::oid::integer);
  SELECT part_end, part_size, trimmed INTO STRICT m FROM {schema}.sluice_meta FOR UPDATE;
  SELECT greatest(m.trimmed, coalesce(max("offset"), 0)) INTO head FROM {schema}.sluice_log;
  WHILE m.part_end - 1 - head < m.part_size / 2 LOOP
    SELECT format('%s.%I', relnamespace::regnamespace, 'sluice_log_' || m.part_end::text) INTO part FROM pg_class WHERE oid = log;
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', part, log);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)',
      log, part, m.part_end, m.part_end + m.part_size);
    UPDATE {schema}.sluice_meta SET part_end = part_end + part_size RETURNING part_end, part_size, trimmed INTO m;
  END LOOP;
END $$$sql$,

-- Removes the oldest partition of which trimmed has passed the last offset,
-- and returns its name; null when there is none. This takes an exclusive lock
-- on the log, which everybody has to wait for who comes later: so it waits for
-- that lock no longer than nobody notices, and gives up while something that
-- takes longer, such as a dump, uses the log. DETACH CONCURRENTLY, which does
-- without that lock, leaves a partition half detached when it gives up, and
-- cannot be had through a pooler.
$sql$CREATE OR REPLACE FUNCTION sluice_remove_partition() RETURNS text LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
  old text;
BEGIN
  SELECT part::text INTO old FROM {schema}.sluice_partitions, {schema}.sluice_meta WHERE past <= trimmed + 1 ORDER BY first LIMIT 1;
  IF old IS NOT NULL THEN
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', {log}::regclass, old);
    EXECUTE format('DROP TABLE %s', old);
  END IF;
  RETURN old;
END $$$sql$,

-- Makes the sequence of the outbox draw ids in ascending order, whoever draws them,
-- and says whether it had to.
$sql$CREATE OR REPLACE FUNCTION sluice_order_ids() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $$
BEGIN
  IF (SELECT seqcache = 1 AND seqincrement > 0 FROM pg_sequence WHERE seqrelid = {ids}::regclass) THEN
    RETURN false;
  END IF;
  ALTER SEQUENCE {schema}.sluice_outbox_id_seq INCREMENT BY 1 CACHE 1 NO CYCLE;
  RETURN true;
END $$$sql$,

  'REVOKE ALL ON FUNCTION sluice_extend_log(), sluice_remove_partition(), sluice_order_ids() FROM PUBLIC'] LOOP
    sql := replace(sql, '{schema}', schema);
    sql := replace(sql, '{log}', quote_literal(schema || '.sluice_log'));
    sql := replace(sql, '{outbox}', quote_literal(schema || '.sluice_outbox'));
    EXECUTE replace(sql, '{ids}', quote_literal(schema || '.sluice_outbox_id_seq'));
  END LOOP;

  -- One role owns it all, so that it can remove what others have made.
  IF has_schema_privilege(owner, schema::regnamespace, 'CREATE') AND pg_has_role(owner, 'MEMBER') THEN
    FOR sql IN SELECT format('ALTER FUNCTION %s OWNER TO %s', oid::regprocedure, owner::regrole) FROM pg_proc
        WHERE prosecdef AND proowner <> owner AND pronamespace = schema::regnamespace AND starts_with(proname, 'sluice_')
      UNION ALL SELECT format('ALTER TABLE %s OWNER TO %s', part, owner::regrole) FROM sluice_partitions JOIN pg_class ON oid = part
        WHERE relowner <> owner AND pg_has_role(relowner, 'USAGE') LOOP
      EXECUTE sql;
    END LOOP;
  END IF;
END $migration$;
