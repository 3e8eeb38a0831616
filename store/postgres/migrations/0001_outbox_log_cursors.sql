-- The outbox, the log and the cursors.
--
-- Advisory locks are pairs (kind, oid of sluice_outbox), where kind is
-- 0x736c7500 ("slu") plus: 1 notifying, 2 sequencing, 3 leading. Migrating is
-- 4, with the schema's oid, as there is no table yet.

-- One row: what is true of the whole log.
CREATE TABLE sluice_meta (
  one_row   boolean PRIMARY KEY DEFAULT true CHECK (one_row),
  version   integer NOT NULL,                                  -- of these tables
  epoch     text    NOT NULL DEFAULT gen_random_uuid()::text,  -- of the offsets: those of two epochs do not compare
  trimmed   bigint  NOT NULL DEFAULT 0,                        -- offsets up to this one are no longer kept
  part_end  bigint  NOT NULL DEFAULT 0,                        -- the log has partitions for offsets below this one
  part_size bigint  NOT NULL DEFAULT 5000000 CHECK (part_size > 1)
);
INSERT INTO sluice_meta (version) VALUES (0);

-- What applications write to. Rows stay for a moment only, so vacuuming is
-- by count, not by share, and in no hurry to rest.
CREATE TABLE sluice_outbox (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic       text NOT NULL,
  event       text NOT NULL,
  payload     json NOT NULL DEFAULT '{}',
  key         text,
  inserted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT sluice_topic_has_1_to_255_bytes  CHECK (octet_length(topic) BETWEEN 1 AND 255),
  CONSTRAINT sluice_topic_is_not_reserved     CHECK (topic <> 'phoenix'),
  CONSTRAINT sluice_event_has_1_to_255_bytes  CHECK (octet_length(event) BETWEEN 1 AND 255),
  CONSTRAINT sluice_event_is_not_reserved     CHECK (NOT starts_with(event, 'phx_')),
  CONSTRAINT sluice_key_has_up_to_1024_bytes  CHECK (octet_length(key) <= 1024),
  CONSTRAINT sluice_payload_is_an_object      CHECK (json_typeof(payload) = 'object'),
  CONSTRAINT sluice_inserted_at_is_finite     CHECK (isfinite(inserted_at))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- What readers read: dense offsets, in delivery order. Partitions are made by
-- sluice_extend_log.
CREATE TABLE sluice_log (
  "offset"    bigint PRIMARY KEY,
  topic       text NOT NULL,
  event       text NOT NULL,
  payload     json NOT NULL,
  key         text,
  inserted_at timestamptz NOT NULL
) PARTITION BY RANGE ("offset");
CREATE INDEX sluice_log_topic ON sluice_log (topic, "offset");

-- Rows that the log would not take although the outbox had: they must not
-- stop the line. Empty, unless somebody has dropped a constraint above.
CREATE TABLE sluice_rejected (
  id          bigint PRIMARY KEY,
  topic       text,
  event       text,
  payload     json,
  key         text,
  inserted_at timestamptz,
  reason      text NOT NULL,
  rejected_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE sluice_cursors (
  name       text PRIMARY KEY,
  epoch      text NOT NULL,
  "offset"   bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Wakes the sequencer when a transaction commits. NOTIFY makes commits wait
-- for each other, their flush included; so only one of those that commit at
-- the same time does it, and a poll is the net under the others. It runs with
-- the application's search_path, and so names no table. PostgreSQL refuses to
-- PREPARE a transaction that notifies: where two-phase commit writes events,
-- disable the trigger, and the poll finds them.
CREATE FUNCTION sluice_outbox_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_try_advisory_xact_lock(1936487681, TG_RELID::integer) THEN
    PERFORM pg_notify('sluice_outbox_' || TG_RELID, '');
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER sluice_outbox_inserted AFTER INSERT ON sluice_outbox
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sluice_outbox_inserted();

-- Three, as a string literal would be ambiguous between two. Their bodies are
-- bound to the table when they are made, whatever search_path calls them.
CREATE FUNCTION sluice_publish(topic text, event text, payload json, key text DEFAULT NULL) RETURNS void LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO sluice_outbox (topic, event, payload, key) VALUES ($1, $2, $3, $4);
END;
CREATE FUNCTION sluice_publish(topic text, event text, payload jsonb, key text DEFAULT NULL) RETURNS void LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO sluice_outbox (topic, event, payload, key) VALUES ($1, $2, $3::json, $4);
END;
CREATE FUNCTION sluice_publish(topic text, event text, payload text, key text DEFAULT NULL) RETURNS void LANGUAGE sql
BEGIN ATOMIC
  INSERT INTO sluice_outbox (topic, event, payload, key) VALUES ($1, $2, $3::json, $4);
END;

-- Moves up to max_rows committed rows to the log. moved is -1, and the rest
-- null, while another session does. It is a function, and not one statement,
-- because each statement in it sees what was committed before it began: the
-- head must be read after the lock is held. extend says that a partition is
-- due. The settings keep the planner from what a table that is mostly empty,
-- and mostly dead rows, tempts it to.
CREATE FUNCTION sluice_sequence(max_rows integer, OUT moved integer, OUT head bigint, OUT extend boolean) LANGUAGE plpgsql
SET enable_seqscan = off SET jit = off AS $$
DECLARE
  outbox CONSTANT oid := 'sluice_outbox'::regclass;
  room bigint;
BEGIN
  IF NOT pg_try_advisory_xact_lock(1936487682, outbox::integer) THEN
    moved := -1;
    RETURN;
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

-- Sets aside the oldest row of the outbox, with the reason.
CREATE FUNCTION sluice_reject(reason text) RETURNS bigint LANGUAGE sql
BEGIN ATOMIC
  WITH taken AS (DELETE FROM sluice_outbox WHERE id = (SELECT min(id) FROM sluice_outbox) RETURNING *)
  INSERT INTO sluice_rejected (id, topic, event, payload, key, inserted_at, reason)
    SELECT id, topic, event, payload, key, inserted_at, $1 FROM taken RETURNING id;
END;
