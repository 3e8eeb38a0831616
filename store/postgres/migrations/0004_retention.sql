-- Retention. Trimming another session's log at the same time is kept out by
-- the advisory lock of kind 5, trimming.

-- By the time of a mark, all events up to its offset were in the log. This is
-- what retention counts from: inserted_at is when a row was written, which a
-- transaction may do long before it commits. Marks are a thousandth of the
-- retention apart, and go with what they mark, so that there are a thousand.
CREATE TABLE sluice_marks (
  at       timestamptz PRIMARY KEY,
  "offset" bigint NOT NULL
);

-- The log's partitions: offsets from first up to but not including past.
CREATE VIEW sluice_partitions AS
  SELECT part, (bounds[1])::bigint AS first, (bounds[2])::bigint AS past
  FROM (SELECT c.oid::regclass AS part,
      regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(\d+)''\) TO \(''(\d+)''\)') AS bounds
    FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'sluice_log'::regclass) partitions;

-- Takes note of the time, and lets trimmed advance to what has been in the log
-- for longer than retention. Rows are not removed here: those below open_from
-- go with their partition, those from there on one by one, as their partition
-- is still being filled and may be for years. trimmed is null while another
-- session trims.
CREATE FUNCTION sluice_trim(retention interval, OUT trimmed bigint, OUT open_from bigint) LANGUAGE plpgsql
SET lock_timeout = '500ms' AS $$
DECLARE
  now CONSTANT timestamptz := clock_timestamp();
  head bigint;
  marked sluice_marks;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1936487685, 'sluice_outbox'::regclass::oid::integer) THEN
    RETURN;
  END IF;
  SELECT m.trimmed, greatest(m.trimmed, (SELECT max("offset") FROM sluice_log)) INTO trimmed, head FROM sluice_meta m;

  SELECT * INTO marked FROM sluice_marks ORDER BY at DESC LIMIT 1;
  IF head > greatest(trimmed, marked."offset") AND now - retention / 1000 >= coalesce(marked.at, '-infinity') THEN
    INSERT INTO sluice_marks VALUES (now, head);
  END IF;

  WITH old AS (DELETE FROM sluice_marks WHERE at <= now - retention RETURNING "offset")
    SELECT greatest(trimmed, max("offset")) INTO trimmed FROM old;
  UPDATE sluice_meta m SET trimmed = sluice_trim.trimmed WHERE m.trimmed < sluice_trim.trimmed;
  SELECT max(first) INTO open_from FROM sluice_partitions WHERE first <= head;
END $$;

-- Removes the oldest partition of which trimmed has passed the last offset,
-- and returns its name; null when there is none. This takes an exclusive lock
-- on the log, which everybody has to wait for who comes later: so it waits for
-- that lock no longer than nobody notices, and gives up while something that
-- takes longer, such as a dump, uses the log. DETACH CONCURRENTLY, which does
-- without that lock, leaves a partition half detached when it gives up, and
-- cannot be had through a pooler.
CREATE FUNCTION sluice_remove_partition() RETURNS text LANGUAGE plpgsql
SET lock_timeout = '50ms' AS $$
DECLARE
  old text;
BEGIN
  SELECT part::text INTO old FROM sluice_partitions, sluice_meta WHERE past <= trimmed + 1 ORDER BY first LIMIT 1;
  IF old IS NOT NULL THEN
    EXECUTE format('ALTER TABLE sluice_log DETACH PARTITION %s', old);
    EXECUTE format('DROP TABLE %s', old);
  END IF;
  RETURN old;
END $$;
