-- How large an event's payload may be, for all ways in: kept here so that all nodes
-- have the same bound. No constraint of the outbox: it would fail transactions of
-- applications when the bound is lowered, and a row above it harms nobody as long as
-- no node reads it. So sluice_sequence sets it aside.

SET LOCAL lock_timeout = '500ms'; -- see 0005

ALTER TABLE sluice_meta ADD COLUMN max_payload bigint NOT NULL DEFAULT 1048576 CHECK (max_payload > 0); -- bytes of its text

-- Tells whether a payload is larger. Its text is unpacked only where its size as it
-- is stored leaves that open: compressed, it takes no less than a 255th.
CREATE FUNCTION sluice_exceeds(payload json, max_payload bigint) RETURNS boolean LANGUAGE sql STABLE
RETURN CASE
  WHEN pg_column_size(payload)::bigint * 300 <= max_payload THEN false
  WHEN pg_column_size(payload) > max_payload + 4 THEN true -- 4: the size itself, in a row
  WHEN pg_column_compression(payload) IS NULL AND pg_column_size(payload) <= max_payload THEN false
  ELSE octet_length(payload::text) > max_payload END;

-- Moves rows that are too large from the outbox to sluice_rejected, without reading
-- what is stored compressed.
CREATE FUNCTION sluice_set_aside(ids bigint[], max_payload bigint) RETURNS void LANGUAGE sql
BEGIN ATOMIC
  WITH taken AS (DELETE FROM sluice_outbox o WHERE o.id = ANY ($1) RETURNING *)
  INSERT INTO sluice_rejected (id, topic, event, payload, key, inserted_at, reason)
    SELECT t.id, t.topic, t.event, t.payload, t.key, t.inserted_at,
      format('payload has more than the %s bytes that --max-payload-bytes allows: %s as stored', $2, pg_column_size(t.payload))
    FROM taken t;
END;
