-- Sequencing that nothing stops for good: rounds are bounded in bytes, pass by
-- what others hold, and reject only what is refused by its own content.

SET LOCAL lock_timeout = '500ms'; -- see the migration before

-- Wakes the sequencer when a transaction commits. NOTIFY makes commits wait
-- for each other, their flush included; so only one of those that commit at
-- the same time does it, and a poll is the net under the others. Where the
-- server's notification queue is nearly full, because some session listens in a
-- transaction that stays open, nobody does it: NOTIFY would fail the commit. It
-- runs with the application's search_path, and so names no table. PostgreSQL
-- refuses to PREPARE a transaction that notifies: where two-phase commit writes
-- events, disable the trigger, and the poll finds them. An assignment takes
-- plpgsql less than the statement PERFORM would.
CREATE OR REPLACE FUNCTION sluice_outbox_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  announced boolean;
BEGIN
  announced := CASE WHEN pg_try_advisory_xact_lock(1936487681, TG_RELID::integer) AND pg_notification_queue_usage() < 0.9
    THEN pg_notify('sluice_outbox_' || TG_RELID::text, '') IS NOT NULL END;
  RETURN NULL;
END $$;

DROP FUNCTION sluice_writers();

-- What it takes to raise the floor: the last id drawn, and then who may yet
-- commit an id up to it. That is who holds the lock that an INSERT takes before
-- it draws one; whoever takes it later draws greater ones. A prepared
-- transaction goes by another name than while it was open: "-1/" and its id.
--
-- ordered says that ids are drawn in ascending order, which a sequence with a
-- cache does not keep to between sessions, and file changes when the sequence is
-- restarted. notifier is who holds the lock of sluice_outbox_inserted, pid which
-- session: for a moment only, unless SET CONSTRAINTS had the trigger fire before
-- the end of its transaction.
CREATE FUNCTION sluice_writers(OUT drawn bigint, OUT writers text[], OUT ordered boolean, OUT file oid, OUT notifier text, OUT pid integer) LANGUAGE plpgsql AS $$
DECLARE
  outbox CONSTANT oid := 'sluice_outbox'::regclass;
BEGIN
  SELECT seqcache = 1 AND seqincrement > 0, pg_relation_filenode(seqrelid) INTO ordered, file
    FROM pg_sequence WHERE seqrelid = 'sluice_outbox_id_seq'::regclass;
  SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END INTO drawn FROM sluice_outbox_id_seq;
  SELECT coalesce(array_agg(DISTINCT virtualtransaction) FILTER (WHERE locktype = 'relation'), '{}'),
      max(virtualtransaction) FILTER (WHERE locktype = 'advisory'), max(l.pid) FILTER (WHERE locktype = 'advisory')
    INTO writers, notifier, pid FROM pg_locks l
    WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND granted
      AND (locktype = 'relation' AND relation = outbox AND mode = 'RowExclusiveLock'
        OR locktype = 'advisory' AND classid = 1936487681 AND objid = outbox AND objsubid = 2);
END $$;

-- Picks which rows with an id above floor to move where some of them are locked,
-- or many of them large. Those that another session has locked, to change or
-- remove them, are passed by, and so are later rows of their topics, which would
-- get lower offsets than they. The others are locked, and so are there to be
-- moved. waits is the lowest id that was passed by, if one was. ended says that
-- there is nothing else to pick.
--
-- All are looked for in one snapshot, or a row would be missed that was committed
-- between two of them, and a later one of its topic picked. One that was changed
-- since is locked as it is now; one that was removed since counts as passed by,
-- which the next round finds out. large are those to be set aside instead, as their
-- payloads are larger than max_payload.
CREATE FUNCTION sluice_pick(max_rows integer, floor bigint, max_bytes bigint, max_payload bigint,
  OUT ids bigint[], OUT large bigint[], OUT waits bigint, OUT ended boolean) LANGUAGE plpgsql AS $$
DECLARE
  held text[] := '{}'; -- topics of rows that are locked
  bytes bigint := 0;
  r record;
  present record;
BEGIN
  ids := '{}';
  large := '{}';
  ended := true;
  FOR r IN SELECT id, topic, pg_column_size(payload) AS size FROM sluice_outbox WHERE id > floor ORDER BY id LOOP
    CONTINUE WHEN r.topic = ANY (held);
    IF cardinality(ids) + cardinality(large) >= max_rows OR bytes + r.size > max_bytes AND bytes > 0 THEN
      ended := false;
      EXIT;
    END IF;
    SELECT topic, sluice_exceeds(payload, max_payload) AS is_large INTO present FROM sluice_outbox WHERE id = r.id FOR UPDATE SKIP LOCKED;
    IF FOUND AND present.topic <> ALL (held) THEN
      IF present.is_large THEN
        large := large || r.id;
      ELSE
        ids := ids || r.id;
      END IF;
      bytes := bytes + r.size;
    ELSE
      held := held || r.topic;
      waits := coalesce(waits, r.id);
    END IF;
  END LOOP;
END $$;

-- For what was removed from the log by hand: a later migration has the body.
CREATE FUNCTION sluice_mend_log(at bigint, OUT begun text) LANGUAGE sql AS 'SELECT NULL::text';

DROP FUNCTION sluice_sequence(integer, bigint, bigint);

-- Moves up to max_rows committed rows with an id above floor to the log, and no
-- more than max_bytes of them, as they are stored, unless it is one alone. moved
-- is -1, and the rest null, while another session does. All rows up to the id
-- last are moved then, and all there are if drained. first is the lowest id that
-- it has moved, and waits the lowest that it had to pass by, if one was: see
-- sluice_pick. extend says that a partition is due, room that there is space for
-- another row, begun is the epoch that it has begun, if one was, and epoch the
-- number of the present one where at does not tell. large are the rows that it has
-- set aside, null if there were none; they count as moved for last.
--
-- at is the head that the session's last call has returned. Who gives it spares
-- two things. A server cannot become another under its sessions, so where this is
-- need not be found out again. And not all partitions need be asked how far the
-- log reaches, but one whether it still has that event: if it was trimmed, or the
-- log restored or emptied in place, at counts for nothing. Should another session
-- have moved rows since, the log's primary key refuses what this one would give
-- their offsets to.
--
-- Rows are locked one by one only where careful says so, or some of them have been
-- locked or changed (xmax) or are too large, for it takes as long as moving them does. Should one
-- be locked or changed between being seen and being moved, all is undone (55P03,
-- 40001): call it again, carefully. announce says whether to wake the readers,
-- which fails where the server's notification queue is full.
--
-- It is a function, and not one statement, because each statement in it sees
-- what was committed before it began: the log must be read after the lock is
-- held, and its head and what is trimmed in one. The settings keep the planner
-- from what a table that is mostly empty, and mostly dead rows, tempts it to. A
-- session that has them saves setting them for each transaction.
CREATE FUNCTION sluice_sequence(max_rows integer, floor bigint, at bigint DEFAULT NULL,
  max_bytes bigint DEFAULT 8388608, careful boolean DEFAULT false, announce boolean DEFAULT true,
  OUT moved integer, OUT last bigint, OUT drained boolean, OUT head bigint, OUT extend boolean, OUT begun text,
  OUT first bigint, OUT waits bigint, OUT room bigint, OUT epoch integer, OUT large bigint[]) LANGUAGE plpgsql AS $$
DECLARE
  outbox CONSTANT oid := 'sluice_outbox'::regclass;
  log record;
  pick record;
  seen integer;
  announced boolean;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1936487682, outbox::integer) THEN
    moved := -1;
    RETURN;
  END IF;
  IF current_setting('enable_seqscan') = 'on' OR current_setting('jit') = 'on' OR current_setting('row_security') = 'on'
      OR current_setting('lock_timeout') = '0' THEN
    PERFORM set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true), set_config('row_security', 'off', true),
      set_config('lock_timeout', '200ms', true);
  END IF;
  SELECT part_end, part_size, max_payload, at >= trimmed AND (at = trimmed OR EXISTS (SELECT FROM sluice_log WHERE "offset" = at)) AS reaches
    INTO log FROM sluice_meta;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = 'sluice_meta is empty';
  END IF;
  IF log.reaches THEN
    head := at;
  ELSE
    IF (SELECT identity FROM sluice_epochs ORDER BY number DESC LIMIT 1) IS DISTINCT FROM sluice_identity() THEN
      begun := sluice_begin_epoch();
    ELSE
      begun := sluice_mend_log(at);
    END IF;
    SELECT greatest(trimmed, (SELECT max("offset") FROM sluice_log)), (SELECT max(number) FROM sluice_epochs)
      INTO head, epoch FROM sluice_meta;
  END IF;
  room := greatest(log.part_end - 1 - head, 0);
  extend := room < log.part_size / 2;
  max_rows := least(max_rows, room);
  IF NOT careful THEN
    WITH picked AS MATERIALIZED (
      SELECT count(*)::integer AS rows, CASE WHEN sum(size) <= max_bytes AND NOT bool_or(held) THEN array_agg(place) END AS places
        FROM (SELECT ctid AS place, pg_column_size(payload) AS size, xmax <> 0 OR sluice_exceeds(payload, log.max_payload) AS held
          FROM sluice_outbox WHERE id > floor ORDER BY id LIMIT max_rows) following
    ), taken AS (
      DELETE FROM sluice_outbox WHERE ctid = ANY ((SELECT places FROM picked)::tid[]) RETURNING *
    ), logged AS (
      INSERT INTO sluice_log
        SELECT head + row_number() OVER (ORDER BY id), topic, event, payload, key, inserted_at FROM taken
    )
    SELECT count(*), min(id), coalesce(max(id), floor), (SELECT rows FROM picked) INTO moved, first, last, seen FROM taken;
    drained := seen < max_rows;
    careful := moved = 0 AND seen > 0;
    IF moved < seen AND NOT careful THEN
      RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = 'a row of the outbox was changed while it was being moved';
    END IF;
  END IF;
  IF careful THEN
    pick := sluice_pick(max_rows, floor, max_bytes, log.max_payload);
    IF pick.large <> '{}' THEN
      large := pick.large;
      PERFORM sluice_set_aside(large, log.max_payload);
    END IF;
    WITH taken AS (
      DELETE FROM sluice_outbox WHERE id = ANY (pick.ids) RETURNING *
    ), logged AS (
      INSERT INTO sluice_log
        SELECT head + row_number() OVER (ORDER BY id), topic, event, payload, key, inserted_at FROM taken
    )
    SELECT count(*), min(id), least(greatest(floor, max(id), pick.large[cardinality(pick.large)]), pick.waits - 1) INTO moved, first, last FROM taken;
    waits := pick.waits;
    drained := pick.ended AND waits IS NULL;
  END IF;
  head := head + moved;
  IF moved > 0 AND announce THEN
    announced := pg_notify('sluice_log_' || outbox::text, head::text) IS NOT NULL; -- not PERFORM: see the trigger
  END IF;
  room := room - moved;
END $$;

-- Says how the log refuses an event, inserted alone and without a wake-up; code
-- is null if it does not. Whatever comes of it is taken back.
CREATE FUNCTION sluice_refusal(at bigint, of_topic text, of_event text, of_payload json, of_key text, since timestamptz,
  OUT code text, OUT rule text, OUT reason text) LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO sluice_log VALUES (at, of_topic, of_event, of_payload, of_key, since);
  SET CONSTRAINTS ALL IMMEDIATE; -- those of somebody's own
  RAISE EXCEPTION USING ERRCODE = 'SLU00';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, rule = CONSTRAINT_NAME, reason = MESSAGE_TEXT;
  code := nullif(code, 'SLU00');
END $$;

DROP FUNCTION sluice_reject(text);

-- A sequence that is restarted gives ids out again.
ALTER TABLE sluice_rejected DROP CONSTRAINT sluice_rejected_pkey, ADD PRIMARY KEY (id, rejected_at);

-- Sets those of the next rows aside that the log refuses for what they are, and
-- says why: data exceptions (22), program limits such as the size of an index
-- entry (54), if it takes an event without any peculiarity, and violated
-- constraints (23514, 23502), but not that there is no partition, which has the
-- same code and no name. Any other refusal speaks of the log or of the moment, and
-- ends the search.
CREATE FUNCTION sluice_reject(max_rows integer, floor bigint, max_bytes bigint)
RETURNS TABLE (outbox_id bigint, code text, reason text) LANGUAGE plpgsql AS $$
DECLARE
  r sluice_outbox;
  refused record;
  at bigint;
  max_payload bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1936487682, 'sluice_outbox'::regclass::oid::integer) THEN
    RETURN;
  END IF;
  PERFORM set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true), set_config('row_security', 'off', true),
    set_config('lock_timeout', '200ms', true);
  SELECT 1 + greatest(trimmed, (SELECT max("offset") FROM sluice_log)), m.max_payload INTO at, max_payload FROM sluice_meta m;
  FOR r IN SELECT * FROM sluice_outbox WHERE id = ANY ((SELECT ids FROM sluice_pick(max_rows, floor, max_bytes, max_payload))::bigint[]) ORDER BY id LOOP
    refused := sluice_refusal(at, r.topic, r.event, r.payload, r.key, r.inserted_at);
    CONTINUE WHEN refused.code IS NULL;
    IF left(refused.code, 2) IN ('22', '54') THEN
      EXIT WHEN left((sluice_refusal(at, 't', 'e', '{}', NULL, r.inserted_at)).code, 2) IN ('22', '54');
    ELSE
      EXIT WHEN NOT (refused.code = '23502' OR refused.code = '23514' AND refused.rule <> '');
    END IF;
    DELETE FROM sluice_outbox WHERE id = r.id;
    INSERT INTO sluice_rejected (id, topic, event, payload, key, inserted_at, reason)
      VALUES (r.id, r.topic, r.event, r.payload, r.key, r.inserted_at, refused.reason);
    outbox_id := r.id;
    code := refused.code;
    reason := refused.reason;
    RETURN NEXT;
  END LOOP;
END $$;
