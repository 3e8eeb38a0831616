-- A snapshot that is held for long, by a dump for instance, keeps the rows that
-- were moved from the outbox in its index, and every round reads past all of
-- them: 6 ms for 100,000. So rounds begin after a floor, which the session that
-- sequences keeps in memory.

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

-- As before, but it passes over ids up to floor. last is the greatest id that
-- it has moved, and drained says that it found none after that.
DROP FUNCTION sluice_sequence(integer);
CREATE FUNCTION sluice_sequence(max_rows integer, floor bigint,
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
  IF (SELECT identity FROM sluice_epochs ORDER BY number DESC LIMIT 1) IS DISTINCT FROM sluice_identity() THEN
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
