-- Requests to append with an Idempotency-Key, each kept in the transaction that appends,
-- so that one that is made again, at whatever node, is answered as it was.
CREATE TABLE sluice_requests (
  key text COLLATE "C" PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 255),
  body_sha256 bytea NOT NULL CHECK (octet_length(body_sha256) = 32),
  count bigint NOT NULL, -- events that it has appended
  at timestamptz NOT NULL DEFAULT clock_timestamp() -- it is kept for a day
);
CREATE INDEX ON sluice_requests (at);
