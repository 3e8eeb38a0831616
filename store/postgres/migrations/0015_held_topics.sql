-- Topics that are held up are kept in a set.

-- Picks which rows with an id above floor to move where some of them are locked,
-- or many of them large. Those that another session has locked, to change or
-- remove them, are passed by, and so are later rows of their topics, which would
-- get lower offsets than they. The others are locked, and so are there to be
-- moved. waits is the lowest id that was passed by, if one was. ended says that
-- there is nothing else to pick.
--
-- All are looked for in one snapshot, or a row would be missed that was committed
-- between two of them, and a later one of its topic picked. One that was changed
-- since is locked as it is now; one that was removed since counts as passed by,
-- which the next round finds out. large are those to be set aside instead, as their
-- payloads are larger than max_payload.
--
-- It takes time by the rows that it passes by, which are all that wait, and not by
-- how many topics they have: 10,000 locked rows of as many topics 0.2 s, and 100,000
-- rows behind one that is locked as much.
CREATE OR REPLACE FUNCTION sluice_pick(max_rows integer, floor bigint, max_bytes bigint, max_payload bigint,
  OUT ids bigint[], OUT large bigint[], OUT waits bigint, OUT ended boolean) LANGUAGE plpgsql AS $$
DECLARE
  -- Topics of rows that are locked: each in the first slot that is free, or has it, from
  -- the one of its hash on. A power of two of slots, half of them free.
  held text[];
  slots integer := 0;
  topics integer := 0;
  slot integer;
  before text[];
  one text;
  bytes bigint := 0;
  r record;
  present record;
BEGIN
  ids := '{}';
  large := '{}';
  ended := true;
  FOR r IN SELECT id, topic, pg_column_size(payload) AS size FROM sluice_outbox WHERE id > floor ORDER BY id LOOP
    IF topics > 0 THEN
      slot := hashtext(r.topic) & (slots - 1);
      WHILE held[slot] <> r.topic LOOP -- not where it is free, and so null
        slot := (slot + 1) & (slots - 1);
      END LOOP;
      CONTINUE WHEN held[slot] IS NOT NULL;
    END IF;
    IF cardinality(ids) + cardinality(large) >= max_rows OR bytes + r.size > max_bytes AND bytes > 0 THEN
      ended := false;
      EXIT;
    END IF;
    SELECT topic, sluice_exceeds(payload, max_payload) AS is_large INTO present FROM sluice_outbox WHERE id = r.id FOR UPDATE SKIP LOCKED;
    IF FOUND AND topics > 0 AND present.topic <> r.topic THEN -- it was changed since
      slot := hashtext(present.topic) & (slots - 1);
      WHILE held[slot] <> present.topic LOOP
        slot := (slot + 1) & (slots - 1);
      END LOOP;
    END IF;
    IF FOUND AND (topics = 0 OR held[slot] IS NULL) THEN
      IF present.is_large THEN
        large := large || r.id;
      ELSE
        ids := ids || r.id;
      END IF;
      bytes := bytes + r.size;
      CONTINUE;
    END IF;
    waits := coalesce(waits, r.id);
    IF 2 * topics >= slots THEN
      before := held;
      slots := greatest(4 * slots, 64);
      held := array_fill(NULL::text, ARRAY[slots], ARRAY[0]);
      FOREACH one IN ARRAY coalesce(before, '{}') LOOP
        IF one IS NOT NULL THEN
          slot := hashtext(one) & (slots - 1);
          WHILE held[slot] IS NOT NULL LOOP
            slot := (slot + 1) & (slots - 1);
          END LOOP;
          held[slot] := one;
        END IF;
      END LOOP;
    END IF;
    slot := hashtext(r.topic) & (slots - 1);
    WHILE held[slot] IS NOT NULL LOOP
      slot := (slot + 1) & (slots - 1);
    END LOOP;
    held[slot] := r.topic;
    topics := topics + 1;
  END LOOP;
END $$;
