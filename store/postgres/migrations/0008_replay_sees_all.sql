-- Replays that no removal of rows, and no new epoch, can pass by.

DROP FUNCTION IF EXISTS sluice_replay(text, bigint, bigint, integer);

-- Reads one topic's events in (after, up_to], at most max_rows of them, for
-- clients that catch up. A last row, which only has an "offset", says how far the
-- topic is whole: up_to, or the head where the log ends before it; or -1 where
-- some of it is no longer kept, and -2 where the log is in another epoch than
-- of_epoch, unless that is empty.
--
-- It is VOLATILE, so that each statement sees what was committed before it began,
-- and asks in this order: how far the log reaches, for rows, and then what is no
-- longer kept, and of which epoch all this is. What the rows lack because it was
-- removed, with its partition perhaps while they waited for a lock, was said to be
-- trimmed before it was removed. One snapshot would not do: it may be older than
-- the lock, and partitions are those of when the lock is had.
--
-- It is a function for its settings, too. Without them the planner, which knows
-- little of a partition that fills, reads all of it or sorts all of a topic to
-- return a page: 0.4 s where the index takes 0.2 ms.
CREATE OR REPLACE FUNCTION sluice_replay(of_topic text, after bigint, up_to bigint, max_rows integer, of_epoch text)
RETURNS SETOF sluice_log LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
DECLARE
  whole bigint := up_to;
BEGIN
  IF NOT EXISTS (SELECT FROM sluice_log WHERE "offset" = up_to) THEN -- takes one partition; the head takes all
    SELECT least(up_to, greatest(trimmed, (SELECT max("offset") FROM sluice_log))) INTO whole FROM sluice_meta;
  END IF;
  RETURN QUERY SELECT * FROM sluice_log
    WHERE topic = of_topic AND "offset" > after AND "offset" <= up_to ORDER BY "offset" LIMIT max_rows;
  SELECT CASE WHEN of_epoch <> '' AND of_epoch <> (SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1) THEN -2
      WHEN after < trimmed THEN -1 ELSE whole END INTO whole FROM sluice_meta;
  RETURN NEXT ROW (whole, NULL::text, NULL::text, NULL::json, NULL::text, NULL::timestamptz);
END $$;
