-- Erasures: payloads of events that are kept have been made {}. Every node has
-- some of what it reads in memory, and learns here what it has to forget. Number
-- is dense, so that it sees when some are no longer kept.
SET LOCAL lock_timeout = '500ms';
ALTER TABLE sluice_meta ADD COLUMN IF NOT EXISTS erased bigint NOT NULL DEFAULT 0;

CREATE TABLE IF NOT EXISTS sluice_erasures (
  number bigint PRIMARY KEY,
  topic  text COLLATE "C" NOT NULL,
  up_to  bigint NOT NULL,  -- no event after this offset
  at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
