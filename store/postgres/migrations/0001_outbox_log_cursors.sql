-- The outbox, the log, its epochs and the cursors.
--
-- Advisory locks are pairs (kind, oid of sluice_outbox), where kind is
-- 0x736c7500 ("slu") plus: 1 notifying, 2 sequencing, 3 leading. Migrating is
-- 4, with the schema's oid, as there is no table yet.

-- One row: what is true of the whole log.
CREATE TABLE sluice_meta (
  one_row   boolean PRIMARY KEY DEFAULT true CHECK (one_row),
  version   integer NOT NULL,                                  -- of these tables
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
-- sluice_extend_log. Topics are compared for being the same, byte by byte: the
-- database's own collation would order them more slowly, and by rules that an
-- upgrade of its library may change under the index.
CREATE TABLE sluice_log (
  "offset"    bigint PRIMARY KEY,
  topic       text COLLATE "C" NOT NULL,
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

-- Only rows can have a trigger that waits for the commit, but once for a
-- transaction is enough. So its first row notes in a setting that it has come,
-- until the transaction ends or what it was part of is rolled back: the trigger
-- of the others is not even queued, which would double the cost of inserting many.
CREATE CONSTRAINT TRIGGER sluice_outbox_inserted AFTER INSERT ON sluice_outbox
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (CASE current_setting('sluice.wakes_' || NEW.tableoid, true) WHEN 'yes' THEN false
    ELSE set_config('sluice.wakes_' || NEW.tableoid, 'yes', true) = 'yes' END)
  EXECUTE FUNCTION sluice_outbox_inserted();

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
