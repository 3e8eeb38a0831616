-- The same tables as in PostgreSQL. Times are microseconds since 1970, in UTC.

-- One row: what is true of the whole log.
CREATE TABLE sluice_meta (
  one_row INTEGER PRIMARY KEY CHECK (one_row = 1),
  epoch   TEXT    NOT NULL,            -- of the offsets: those of two epochs do not compare
  trimmed INTEGER NOT NULL DEFAULT 0   -- offsets up to this one are no longer kept
) STRICT;
INSERT INTO sluice_meta (one_row, epoch) VALUES (1, lower(hex(randomblob(16))));

-- What applications write to. AUTOINCREMENT: an id is never used twice.
CREATE TABLE sluice_outbox (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  topic       TEXT    NOT NULL,
  event       TEXT    NOT NULL,
  payload     TEXT    NOT NULL DEFAULT '{}',
  key         TEXT,
  inserted_at INTEGER NOT NULL DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000),
  CONSTRAINT sluice_topic_has_1_to_255_bytes CHECK (length(CAST(topic AS BLOB)) BETWEEN 1 AND 255),
  CONSTRAINT sluice_topic_has_no_nul         CHECK (instr(CAST(topic AS BLOB), x'00') = 0),
  CONSTRAINT sluice_topic_is_not_reserved    CHECK (topic <> 'phoenix'),
  CONSTRAINT sluice_event_has_1_to_255_bytes CHECK (length(CAST(event AS BLOB)) BETWEEN 1 AND 255),
  CONSTRAINT sluice_event_has_no_nul         CHECK (instr(CAST(event AS BLOB), x'00') = 0),
  CONSTRAINT sluice_event_is_not_reserved    CHECK (substr(event, 1, 4) <> 'phx_'),
  CONSTRAINT sluice_key_has_up_to_1024_bytes CHECK (length(CAST(key AS BLOB)) <= 1024),
  CONSTRAINT sluice_key_has_no_nul           CHECK (instr(CAST(key AS BLOB), x'00') = 0),
  CONSTRAINT sluice_payload_has_no_nul       CHECK (instr(CAST(payload AS BLOB), x'00') = 0),
  CONSTRAINT sluice_payload_is_an_object     CHECK (CASE WHEN json_valid(payload) THEN json_type(payload) = 'object' ELSE 0 END)
) STRICT;

-- What readers read: dense offsets, in delivery order.
CREATE TABLE sluice_log (
  "offset"    INTEGER PRIMARY KEY,
  topic       TEXT    NOT NULL,
  event       TEXT    NOT NULL,
  payload     TEXT    NOT NULL,
  key         TEXT,
  inserted_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sluice_log_topic ON sluice_log (topic, "offset");

CREATE TABLE sluice_cursors (
  name       TEXT    PRIMARY KEY,
  epoch      TEXT    NOT NULL,
  "offset"   INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
