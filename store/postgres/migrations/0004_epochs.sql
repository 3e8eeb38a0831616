-- The epochs of the log. Offsets of one epoch mean the same to everybody. A
-- server that is promoted may lack the last offsets that its predecessor gave
-- out, and gives them to other events; so does a restored backup. They begin a
-- new epoch, and a position of an old one counts as far as below the first
-- offset of its successor.
CREATE TABLE sluice_epochs (
  number   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  epoch    text   NOT NULL UNIQUE DEFAULT gen_random_uuid()::text,
  first    bigint NOT NULL,  -- offset that it gave, or is to give, out
  identity text   NOT NULL,  -- of where it was given out; see sluice_identity
  began_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Tells this place from those that a log may be moved to or brought back
-- from: another cluster, the same one on another timeline, another database or
-- other tables. Where a hosted database hides some of it, the rest has to do.
-- What brings back the files of the whole cluster as they were, such as the
-- snapshot of a disk, leaves no trace: call sluice_begin_epoch after that.
CREATE FUNCTION sluice_identity() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  system text;
  timeline text;
BEGIN
  BEGIN
    SELECT system_identifier INTO system FROM pg_control_system();
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  BEGIN
    timeline := left(pg_walfile_name(pg_current_wal_lsn()), 8); -- the control file's is late after a promotion
  EXCEPTION WHEN OTHERS THEN NULL;
  END;
  RETURN concat_ws('/', coalesce(system, '?'), coalesce(timeline, '?'),
    (SELECT oid FROM pg_database WHERE datname = current_database()), 'sluice_outbox'::regclass::oid);
END $$;

INSERT INTO sluice_epochs (epoch, first, identity) SELECT epoch, 1, sluice_identity() FROM sluice_meta;
ALTER TABLE sluice_meta DROP COLUMN epoch;

-- Begins an epoch with the next offset, and forgets those of which no position
-- is kept.
CREATE FUNCTION sluice_begin_epoch() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  begun text;
BEGIN
  PERFORM pg_advisory_xact_lock(1936487682, 'sluice_outbox'::regclass::oid::integer);
  DELETE FROM sluice_epochs e USING sluice_meta m
    WHERE EXISTS (SELECT FROM sluice_epochs later WHERE later.number > e.number AND later.first <= m.trimmed);
  INSERT INTO sluice_epochs (first, identity)
    SELECT 1 + greatest(trimmed, (SELECT max("offset") FROM sluice_log)), sluice_identity() FROM sluice_meta
    RETURNING epoch INTO begun;
  RETURN begun;
END $$;

-- As before, but it begins an epoch where one is due, before it gives out an
-- offset; begun is the epoch then.
DROP FUNCTION sluice_sequence(integer);
CREATE FUNCTION sluice_sequence(max_rows integer, OUT moved integer, OUT head bigint, OUT extend boolean, OUT begun text) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
DECLARE
  outbox CONSTANT oid := 'sluice_outbox'::regclass;
  room bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1936487682, outbox::integer) THEN
    moved := -1;
    RETURN;
  END IF;
  IF (SELECT identity FROM sluice_epochs ORDER BY number DESC LIMIT 1) IS DISTINCT FROM sluice_identity() THEN
    begun := sluice_begin_epoch();
  END IF;
  SELECT greatest(m.trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0)), m.part_end, m.part_size
    INTO head, room, moved FROM sluice_meta m;
  room := room - 1 - head;
  extend := room < moved / 2;
  WITH taken AS (
    DELETE FROM sluice_outbox
      WHERE ctid = ANY (ARRAY(SELECT ctid FROM sluice_outbox ORDER BY id LIMIT least(max_rows, greatest(room, 0))))
      RETURNING *
  )
  INSERT INTO sluice_log
    SELECT head + row_number() OVER (ORDER BY id), topic, event, payload, key, inserted_at FROM taken;
  GET DIAGNOSTICS moved = ROW_COUNT;
  IF moved > 0 THEN
    head := head + moved;
    PERFORM pg_notify('sluice_log_' || outbox, head::text);
  END IF;
END $$;
