-- Sequencing: from the outbox to the log. One session at a time does it.

-- Makes partitions until there is room for half a partition ahead. CREATE and
-- ATTACH, not PARTITION OF, whose lock on the log a running dump would keep
-- waiting, and all sequencing with it.
CREATE FUNCTION sluice_extend_log() RETURNS void LANGUAGE plpgsql
SET lock_timeout = '500ms' AS $$
DECLARE
  m sluice_meta;
  head bigint;
  part text;
BEGIN
  PERFORM pg_advisory_xact_lock(1936487682, 'sluice_outbox'::regclass::oid::integer);
  SELECT * INTO STRICT m FROM sluice_meta FOR UPDATE;
  SELECT greatest(m.trimmed, coalesce(max("offset"), 0)) INTO head FROM sluice_log;
  WHILE m.part_end - 1 - head < m.part_size / 2 LOOP
    SELECT format('%s.%I', relnamespace::regnamespace, 'sluice_log_' || m.part_end)
      INTO part FROM pg_class WHERE oid = 'sluice_log'::regclass;
    EXECUTE format('CREATE TABLE %s (LIKE sluice_log INCLUDING ALL)', part);
    EXECUTE format('ALTER TABLE sluice_log ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)',
      part, m.part_end, m.part_end + m.part_size);
    UPDATE sluice_meta SET part_end = part_end + part_size RETURNING * INTO m;
  END LOOP;
END $$;
SELECT sluice_extend_log();

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

INSERT INTO sluice_epochs (first, identity) VALUES (1, sluice_identity());

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

-- A snapshot that is held for long, by a dump for instance, keeps the rows that
-- were moved from the outbox in its index, and every round reads past all of
-- them: 6 ms for 100,000. So rounds begin after a floor, which the session that
-- sequences keeps in memory.
--
-- What it takes to raise the floor: the last id drawn, and then who may yet
-- commit an id up to it. That is who holds the lock that an INSERT takes before
-- it draws one; whoever takes it later draws greater ones. A prepared
-- transaction goes by another name than while it was open: "-1/" and its id.
CREATE FUNCTION sluice_writers(OUT drawn bigint, OUT writers text[]) LANGUAGE plpgsql AS $$
BEGIN
  SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END INTO drawn FROM sluice_outbox_id_seq;
  writers := ARRAY(SELECT DISTINCT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'sluice_outbox'::regclass AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));
END $$;

-- Moves up to max_rows committed rows with an id above floor to the log. moved
-- is -1, and the rest null, while another session does. last is the greatest id
-- that it has moved, and drained says that it found none after that. extend says
-- that a partition is due, and begun is the epoch that it has begun, if one was.
-- A session that has gone through it before says so in known: a server cannot
-- become another under its sessions, and finding out where this is takes a third
-- of what a round without rows costs.
--
-- It is a function, and not one statement, because each statement in it sees
-- what was committed before it began: the head must be read after the lock is
-- held. The settings keep the planner from what a table that is mostly empty,
-- and mostly dead rows, tempts it to.
CREATE FUNCTION sluice_sequence(max_rows integer, floor bigint, known boolean DEFAULT false,
  OUT moved integer, OUT last bigint, OUT drained boolean, OUT head bigint, OUT extend boolean, OUT begun text) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
DECLARE
  outbox CONSTANT oid := 'sluice_outbox'::regclass;
  room bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1936487682, outbox::integer) THEN
    moved := -1;
    RETURN;
  END IF;
  IF NOT known AND (SELECT identity FROM sluice_epochs ORDER BY number DESC LIMIT 1) IS DISTINCT FROM sluice_identity() THEN
    begun := sluice_begin_epoch();
  END IF;
  SELECT greatest(m.trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0)), m.part_end, m.part_size
    INTO head, room, moved FROM sluice_meta m;
  room := room - 1 - head;
  extend := room < moved / 2;
  WITH taken AS (
    DELETE FROM sluice_outbox
      WHERE ctid = ANY (ARRAY(SELECT ctid FROM sluice_outbox WHERE id > floor
        ORDER BY id LIMIT least(max_rows, greatest(room, 0))))
      RETURNING *
  ), logged AS (
    INSERT INTO sluice_log
      SELECT head + row_number() OVER (ORDER BY id), topic, event, payload, key, inserted_at FROM taken
  )
  SELECT count(*), coalesce(max(id), floor) INTO moved, last FROM taken;
  drained := moved < least(max_rows, room);
  IF moved > 0 THEN
    head := head + moved;
    PERFORM pg_notify('sluice_log_' || outbox, head::text);
  END IF;
END $$;

-- Sets aside the oldest row of the outbox, with the reason.
CREATE FUNCTION sluice_reject(reason text) RETURNS bigint LANGUAGE sql
BEGIN ATOMIC
  WITH taken AS (DELETE FROM sluice_outbox WHERE id = (SELECT min(id) FROM sluice_outbox) RETURNING *)
  INSERT INTO sluice_rejected (id, topic, event, payload, key, inserted_at, reason)
    SELECT id, topic, event, payload, key, inserted_at, $1 FROM taken RETURNING id;
END;
