-- Requests to append with an Idempotency-Key, each kept in the transaction that appends,
-- so that one that is made again is answered as it was.
CREATE TABLE sluice_requests (
  key         TEXT    NOT NULL PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 255),
  body_sha256 BLOB    NOT NULL CHECK (octet_length(body_sha256) = 32),
  count       INTEGER NOT NULL, -- events that it has appended
  at          INTEGER NOT NULL  -- microseconds since 1970; it is kept for a day
) STRICT;
CREATE INDEX sluice_requests_at ON sluice_requests (at);
