-- The last events of a topic, for who joins with the number of them that it wants.

-- The offset after which the last max_rows events lie that a topic has up to an offset
-- and that are kept: the one before the first of them, or up_to, or the head where the
-- log ends before it, if there are none; and -2 where the log is in another epoch than
-- of_epoch, unless that is empty.
--
-- The index of each partition is read backwards, from the last one, until there are as
-- many. For its settings, its order of reading and why it is VOLATILE, see
-- sluice_replay.
CREATE OR REPLACE FUNCTION sluice_tail(of_topic text, up_to bigint, max_rows integer, of_epoch text)
RETURNS bigint LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  whole bigint := up_to;
  found bigint[];
BEGIN
  IF NOT EXISTS (SELECT FROM sluice_log WHERE "offset" = up_to) THEN -- takes one partition; the head takes all
    SELECT least(up_to, greatest(trimmed, (SELECT max("offset") FROM sluice_log))) INTO whole FROM sluice_meta;
  END IF;
  found := ARRAY(SELECT "offset" FROM sluice_log WHERE topic = of_topic AND "offset" <= up_to ORDER BY "offset" DESC LIMIT max_rows);
  SELECT CASE WHEN of_epoch <> '' AND of_epoch <> (SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1) THEN -2
      ELSE coalesce((SELECT min(one) - 1 FROM unnest(found) one WHERE one > trimmed), whole) END INTO whole FROM sluice_trimmed;
  RETURN whole;
END $$;
