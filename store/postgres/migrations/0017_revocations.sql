-- Revocations: clients' tokens that count no more, though they have not expired. Every
-- node has a copy in memory, and reads what has come since by its number: sluice_meta
-- counts, and its row is locked until a revocation is committed, so that none comes to
-- be seen after one with a greater number.
SET LOCAL lock_timeout = '500ms';
ALTER TABLE sluice_meta ADD COLUMN revoked bigint NOT NULL DEFAULT 0;

CREATE TABLE sluice_revocations (
  kind text COLLATE "C" NOT NULL CHECK (kind IN ('sub', 'jti')), -- the claim
  value text COLLATE "C" NOT NULL CHECK (octet_length(value) BETWEEN 1 AND 1024),
  issued_before timestamptz NOT NULL, -- tokens issued before this, or that do not say when
  until timestamptz NOT NULL,         -- after this it does not count any more, and is removed
  number bigint NOT NULL UNIQUE,
  PRIMARY KEY (kind, value)
);
CREATE INDEX ON sluice_revocations (until);
