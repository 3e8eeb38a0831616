-- Functions of the migrations before, which take less time.

-- To replace the trigger takes the outbox for itself for a moment. Who waits for
-- that has all writers wait behind it: so it gives up soon, and is tried again.
SET LOCAL lock_timeout = '500ms';

-- Wakes the sequencer when a transaction commits. NOTIFY makes commits wait
-- for each other, their flush included; so only one of those that commit at
-- the same time does it, and a poll is the net under the others. It runs with
-- the application's search_path, and so names no table. PostgreSQL refuses to
-- PREPARE a transaction that notifies: where two-phase commit writes events,
-- disable the trigger, and the poll finds them. An assignment takes plpgsql less
-- than the statement PERFORM would.
CREATE OR REPLACE FUNCTION sluice_outbox_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  announced boolean;
BEGIN
  announced := CASE WHEN pg_try_advisory_xact_lock(1936487681, TG_RELID::integer)
    THEN pg_notify('sluice_outbox_' || TG_RELID::text, '') IS NOT NULL END;
  RETURN NULL;
END $$;

-- Only rows can have a trigger that waits for the commit, but once for a
-- transaction is enough. So its first row notes in a setting that it has come,
-- until the transaction ends or what it was part of is rolled back: the trigger
-- of the others is not even queued, which would double the cost of inserting many.
-- The condition is planned for each statement: without the casts to text it would
-- call text || anynonarray, whose body is SQL, and an INSERT take a tenth longer.
--
-- One that somebody has disabled, or dropped, stays so.
DO $migration$
BEGIN
  PERFORM FROM pg_trigger
    WHERE tgrelid = 'sluice_outbox'::regclass AND tgname = 'sluice_outbox_inserted' AND tgenabled = 'O';
  IF FOUND THEN
    DROP TRIGGER sluice_outbox_inserted ON sluice_outbox;
    CREATE CONSTRAINT TRIGGER sluice_outbox_inserted AFTER INSERT ON sluice_outbox
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
      WHEN (CASE current_setting('sluice.wakes_' || NEW.tableoid::text, true) WHEN 'yes' THEN false
        ELSE set_config('sluice.wakes_' || NEW.tableoid::text, 'yes', true) = 'yes' END)
      EXECUTE FUNCTION sluice_outbox_inserted();
  END IF;
END $migration$;

DROP FUNCTION sluice_sequence(integer, bigint, boolean);

-- Moves up to max_rows committed rows with an id above floor to the log. moved
-- is -1, and the rest null, while another session does. last is the greatest id
-- that it has moved, and drained says that it found none after that. extend says
-- that a partition is due, and begun is the epoch that it has begun, if one was.
--
-- at is the head that the session's last call has returned. Who gives it spares
-- two things. A server cannot become another under its sessions, so where this is
-- need not be found out again. And not all partitions need be asked how far the
-- log reaches, but one whether it still has that event: if it was trimmed, or the
-- log restored or emptied in place, at counts for nothing. Should another session
-- have moved rows since, the log's primary key refuses what this one would give
-- their offsets to.
--
-- It is a function, and not one statement, because each statement in it sees
-- what was committed before it began: the log must be read after the lock is
-- held, and its head and what is trimmed in one. The settings keep the planner
-- from what a table that is mostly empty, and mostly dead rows, tempts it to. A
-- session that has them saves setting them for each transaction.
CREATE FUNCTION sluice_sequence(max_rows integer, floor bigint, at bigint DEFAULT NULL,
  OUT moved integer, OUT last bigint, OUT drained boolean, OUT head bigint, OUT extend boolean, OUT begun text) LANGUAGE plpgsql AS $$
DECLARE
  outbox CONSTANT oid := 'sluice_outbox'::regclass;
  log record;
  room bigint;
  announced boolean;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1936487682, outbox::integer) THEN
    moved := -1;
    RETURN;
  END IF;
  IF current_setting('enable_seqscan') = 'on' OR current_setting('jit') = 'on' THEN
    PERFORM set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true);
  END IF;
  SELECT part_end, part_size, at >= trimmed AND (at = trimmed OR EXISTS (SELECT FROM sluice_log WHERE "offset" = at)) AS reaches
    INTO log FROM sluice_meta;
  IF log.reaches THEN
    head := at;
  ELSE
    IF (SELECT identity FROM sluice_epochs ORDER BY number DESC LIMIT 1) IS DISTINCT FROM sluice_identity() THEN
      begun := sluice_begin_epoch();
    END IF;
    SELECT greatest(trimmed, (SELECT max("offset") FROM sluice_log)) INTO head FROM sluice_meta;
  END IF;
  room := greatest(log.part_end - 1 - head, 0);
  WITH taken AS (
    DELETE FROM sluice_outbox
      WHERE ctid = ANY (ARRAY(SELECT ctid FROM sluice_outbox WHERE id > floor ORDER BY id LIMIT least(max_rows, room)))
      RETURNING *
  ), logged AS (
    INSERT INTO sluice_log
      SELECT head + row_number() OVER (ORDER BY id), topic, event, payload, key, inserted_at FROM taken
  )
  SELECT count(*), coalesce(max(id), floor) INTO moved, last FROM taken;
  drained := moved < least(max_rows, room);
  extend := room < log.part_size / 2;
  IF moved > 0 THEN
    head := head + moved;
    announced := pg_notify('sluice_log_' || outbox::text, head::text) IS NOT NULL; -- not PERFORM: see the trigger
  END IF;
END $$;

-- Reads one topic's events in (after, up_to], at most max_rows of them, for
-- clients that catch up. A first row, which only has an "offset", says how far
-- the topic is whole: up_to, or the head where the log ends before it, or -1
-- where some of it is no longer kept. STABLE makes all of it one snapshot's.
--
-- It is a function for its settings. Without them the planner, which knows
-- little of a partition that fills, reads all of it or sorts all of a topic to
-- return a page: 0.4 s where the index takes 0.2 ms.
CREATE OR REPLACE FUNCTION sluice_replay(of_topic text, after bigint, up_to bigint, max_rows integer)
RETURNS SETOF sluice_log LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  meta sluice_meta;
  whole bigint := up_to;
BEGIN
  SELECT * INTO meta FROM sluice_meta;
  IF after < meta.trimmed THEN
    whole := -1;
  ELSIF NOT EXISTS (SELECT FROM sluice_log WHERE "offset" = up_to) THEN -- takes one partition; the head takes all
    SELECT least(up_to, greatest(meta.trimmed, max("offset"))) INTO whole FROM sluice_log;
  END IF;
  RETURN NEXT ROW (whole, NULL::text, NULL::text, NULL::json, NULL::text, NULL::timestamptz);
  RETURN QUERY SELECT * FROM sluice_log
    WHERE topic = of_topic AND "offset" > after AND "offset" <= up_to ORDER BY "offset" LIMIT max_rows;
END $$;
