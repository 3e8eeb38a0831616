-- What somebody removes by hand from one partition of the log, or with it, counts as
-- trimmed too, from that moment on.

SET LOCAL lock_timeout = '500ms'; -- see 0005

-- Which partitions there are, as the sum of their oids, as who last looked has found
-- them. Another one than there is says that one was detached or dropped, or attached,
-- by hand, or all of them restored: whoever asks what is trimmed then looks for the
-- hole in them, which takes much longer.
ALTER TABLE sluice_meta ADD COLUMN parts bigint NOT NULL DEFAULT 0;

-- Notes what is removed from the log, or from one of its partitions, for whoever does
-- it, with whatever search_path: it is set to the log's schema, which may have been
-- renamed, and is given back at the end for being declared. What was a partition is
-- nobody's concern.
CREATE OR REPLACE FUNCTION sluice_log_removed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_temp AS $$
DECLARE
  place text;
  last bigint;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    RAISE EXCEPTION 'an event of the log keeps its offset' USING ERRCODE = 'object_not_in_prerequisite_state',
      HINT = 'DELETE it: sluice then tells readers that it is gone';
  END IF;
  SELECT relnamespace::regnamespace INTO place FROM pg_class log
    WHERE log.oid = coalesce((SELECT inhparent FROM pg_inherits WHERE inhrelid = TG_RELID), TG_RELID) AND relkind = 'p';
  IF place IS NULL THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'TRUNCATE' THEN
    EXECUTE format('SELECT max("offset") FROM %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO last;
  ELSE
    SELECT max("offset") INTO last FROM removed;
  END IF;
  PERFORM set_config('search_path', place || ', pg_temp', true);
  IF TG_OP = 'TRUNCATE' THEN -- the rows are still there
    UPDATE sluice_meta SET trimmed = last, removed = last WHERE trimmed < last;
  ELSE
    PERFORM sluice_note_removed(last);
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER sluice_log_renumbered BEFORE UPDATE OF "offset" ON sluice_log
  FOR EACH STATEMENT EXECUTE FUNCTION sluice_log_removed();

-- The offset up to which the log is not whole, for who asks what is trimmed: that, or
-- what lay before a partition that does not follow another one. Partitions that were
-- made ahead are no part of the log yet.
CREATE VIEW sluice_trimmed AS
  SELECT CASE WHEN parts = (SELECT coalesce(sum(inhrelid::bigint), 0) FROM pg_inherits WHERE inhparent = 'sluice_log'::regclass AND NOT inhdetachpending) THEN trimmed
    ELSE greatest(trimmed, (SELECT max(first) - 1
      FROM (SELECT first, coalesce(lag(past) OVER (ORDER BY first), trimmed + 1) AS follows FROM sluice_partitions) part
      WHERE first > follows AND first <= (SELECT max("offset") FROM sluice_log))) END AS trimmed, trimmed AS noted
  FROM sluice_meta;

-- Makes partitions until there is room for half a partition ahead. CREATE and
-- ATTACH, not PARTITION OF, whose lock on the log a running dump would keep
-- waiting, and all sequencing with it.
--
-- A trigger of the log's is not called for who names a partition: each has them too,
-- also those that were attached by hand.
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
  FOR part IN SELECT inhrelid::regclass FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
      WHERE inhparent = (schema || '.sluice_log')::regclass AND pg_has_role(relowner, 'USAGE')
        AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = inhrelid AND tgname = 'sluice_log_deleted') LOOP
    EXECUTE format('CREATE TRIGGER sluice_log_deleted AFTER DELETE ON %s
      REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION %s.sluice_log_removed()', part, schema);
    EXECUTE format('CREATE TRIGGER sluice_log_truncated BEFORE TRUNCATE ON %s
      FOR EACH STATEMENT EXECUTE FUNCTION %s.sluice_log_removed()', part, schema);
    EXECUTE format('CREATE TRIGGER sluice_log_renumbered BEFORE UPDATE OF "offset" ON %s
      FOR EACH STATEMENT EXECUTE FUNCTION %s.sluice_log_removed()', part, schema);
  END LOOP;
  -- A hole that was not noted yet is to be found by who asks.
  EXECUTE format('UPDATE %s.sluice_meta SET parts = present
    FROM (SELECT coalesce(sum(inhrelid::bigint), 0) AS present FROM pg_inherits WHERE inhparent = %L::regclass AND NOT inhdetachpending) log
    WHERE parts <> present AND (SELECT t.trimmed = noted FROM %1$s.sluice_trimmed t)', schema, schema || '.sluice_log');
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
  gone bigint;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  EXECUTE format('SELECT part::text, part::oid FROM %s.sluice_partitions, %1$s.sluice_meta WHERE past <= trimmed + 1 ORDER BY first LIMIT 1', schema) INTO old, gone;
  IF old IS NOT NULL THEN
    EXECUTE format('ALTER TABLE %s.sluice_log DETACH PARTITION %s', schema, old);
    EXECUTE format('DROP TABLE %s', old);
    EXECUTE format('UPDATE %s.sluice_meta SET parts = parts - %s', schema, gone);
  END IF;
  RETURN old;
END $$;

DO $migration$
DECLARE
  place CONSTANT regnamespace := (SELECT relnamespace FROM pg_class WHERE oid = 'sluice_log'::regclass);
  sql text;
BEGIN
  FOR sql IN SELECT format('ALTER FUNCTION %s SET search_path = %s, pg_temp', oid::regprocedure, place) FROM pg_proc
      WHERE prosecdef AND pronamespace = place AND proname IN ('sluice_extend_log', 'sluice_remove_partition') LOOP
    EXECUTE sql;
  END LOOP;
END $migration$;

SELECT sluice_extend_log();

-- Finds out whether rows were removed, also where no trigger has seen it: a log that
-- begins after what is trimmed has lost its front, one whose partitions do not follow
-- each other has lost one, and one that ends before what it is known to have given
-- out, to this session (at), to readers or to retention, its end. Begins an epoch
-- unless that was the front alone: positions are then judged anew by everybody. For
-- who sequences.
CREATE OR REPLACE FUNCTION sluice_mend_log(at bigint, OUT begun text) LANGUAGE plpgsql AS $$
DECLARE
  log record;
BEGIN
  IF at IS NULL AND (SELECT parts <> (SELECT coalesce(sum(inhrelid::bigint), 0) FROM pg_inherits WHERE inhparent = 'sluice_log'::regclass AND NOT inhdetachpending) FROM sluice_meta) THEN
    PERFORM sluice_note_removed(trimmed) FROM sluice_trimmed WHERE trimmed > noted;
    PERFORM sluice_extend_log();
  END IF;
  SELECT trimmed, removed, greatest(trimmed, (SELECT max("offset") FROM sluice_log)) AS head,
      (SELECT min("offset") FROM sluice_log WHERE "offset" > trimmed) AS first,
      greatest(at, (SELECT max("offset") FROM sluice_cursors WHERE epoch = e.epoch), (SELECT max("offset") FROM sluice_marks), e.first - 1) AS known
    INTO log FROM sluice_meta, (SELECT epoch, first FROM sluice_epochs ORDER BY number DESC LIMIT 1) e;
  IF log.removed = 0 AND log.known <= log.head AND coalesce(log.first, log.trimmed + 1) = log.trimmed + 1
      OR NOT pg_try_advisory_xact_lock(1936487682, 'sluice_outbox'::regclass::oid::integer) THEN
    RETURN;
  END IF;
  UPDATE sluice_meta SET removed = 0, trimmed = greatest(trimmed, CASE WHEN log.known > log.head THEN log.known ELSE log.first - 1 END);
  IF log.removed > 0 OR log.known > log.head THEN
    begun := sluice_begin_epoch();
  END IF;
END $$;

-- Reads one topic's events in (after, up_to], at most max_rows of them, for
-- clients that catch up. A last row, which only has an "offset", says how far the
-- topic is whole: up_to, or the head where the log ends before it; or -1 where
-- some of it is no longer kept, and -2 where the log is in another epoch than
-- of_epoch, unless that is empty.
--
-- It is VOLATILE, so that each statement sees what was committed before it began,
-- and asks in this order: how far the log reaches, for rows, and then what is no
-- longer kept, and of which epoch all this is. What the rows lack because it was
-- removed, with its partition perhaps while they waited for a lock, was said to be
-- trimmed before it was removed, or is seen to be missing. One snapshot would not do:
-- it may be older than the lock, and partitions are those of when the lock is had.
--
-- It is a function for its settings, too. Without them the planner, which knows
-- little of a partition that fills, reads all of it or sorts all of a topic to
-- return a page: 0.4 s where the index takes 0.2 ms.
CREATE OR REPLACE FUNCTION sluice_replay(of_topic text, after bigint, up_to bigint, max_rows integer, of_epoch text)
RETURNS SETOF sluice_log LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  whole bigint := up_to;
BEGIN
  IF NOT EXISTS (SELECT FROM sluice_log WHERE "offset" = up_to) THEN -- takes one partition; the head takes all
    SELECT least(up_to, greatest(trimmed, (SELECT max("offset") FROM sluice_log))) INTO whole FROM sluice_meta;
  END IF;
  RETURN QUERY SELECT * FROM sluice_log
    WHERE topic = of_topic AND "offset" > after AND "offset" <= up_to ORDER BY "offset" LIMIT max_rows;
  SELECT CASE WHEN of_epoch <> '' AND of_epoch <> (SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1) THEN -2
      WHEN after < trimmed THEN -1 ELSE whole END INTO whole FROM sluice_trimmed;
  RETURN NEXT ROW (whole, NULL::text, NULL::text, NULL::json, NULL::text, NULL::timestamptz);
END $$;
