-- Revocations: clients' tokens that count no more, though they have not expired. The
-- service has a copy in memory, and reads what has come since by its number.
ALTER TABLE sluice_meta ADD COLUMN revoked INTEGER NOT NULL DEFAULT 0;

CREATE TABLE sluice_revocations (
  kind          TEXT    NOT NULL CHECK (kind IN ('sub', 'jti')), -- the claim
  value         TEXT    NOT NULL CHECK (octet_length(value) BETWEEN 1 AND 1024),
  issued_before INTEGER NOT NULL, -- microseconds since 1970: tokens issued before this, or that do not say when
  until         INTEGER NOT NULL, -- likewise; after this it does not count any more, and is removed
  number        INTEGER NOT NULL UNIQUE,
  PRIMARY KEY (kind, value)
) STRICT;
CREATE INDEX sluice_revocations_until ON sluice_revocations (until);
