-- Erasures: payloads of events that are kept have been made {}. Who has some of
-- what it read in memory learns here what it has to forget. Number is dense, so
-- that it sees when some are no longer kept.
ALTER TABLE sluice_meta ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;

CREATE TABLE sluice_erasures (
  number INTEGER PRIMARY KEY,
  topic  TEXT    NOT NULL,
  up_to  INTEGER NOT NULL,  -- no event after this offset
  at     INTEGER NOT NULL
) STRICT;
