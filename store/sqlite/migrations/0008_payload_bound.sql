-- How large an event's payload may be, for all ways in: kept here so that all
-- processes have the same bound. A row of the outbox above it is set aside.
ALTER TABLE sluice_meta ADD COLUMN max_payload INTEGER NOT NULL DEFAULT 1048576 CHECK (max_payload > 0); -- bytes

-- Rows that were set aside, with the reason. Payload is a blob, and last, so that it
-- can be copied piece by piece: CAST it AS TEXT.
CREATE TABLE sluice_rejected (
  number      INTEGER PRIMARY KEY AUTOINCREMENT,
  id          INTEGER NOT NULL,  -- in sluice_outbox
  topic       TEXT    NOT NULL,
  event       TEXT    NOT NULL,
  key         TEXT,
  inserted_at INTEGER NOT NULL,
  reason      TEXT    NOT NULL,
  rejected_at INTEGER NOT NULL,
  payload     BLOB    NOT NULL
) STRICT;
